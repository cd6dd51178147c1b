"""Every error that Ragstone raises on purpose.

    RagstoneError
    ├── SettingsError            ragstone.toml, the environment or an argument is wrong
    ├── FilterError              a filter cannot be read, or names a field that no document has
    ├── NothingIndexed           the collection has nothing to answer from yet
    ├── SourceError              a source as a whole cannot be read: nothing of it was changed
    ├── DocumentError            one document cannot be indexed; the others go on, its old version keeps serving
    │   ├── UnreadableDocument       no permission, or it vanished while being read
    │   │   ├── DocumentGone            … because its source says that it is gone, though it lists it
    │   │   └── DocumentUnavailable      … in a way that a later try may mend
    │   ├── UnsupportedDocument      not a kind that can be read
    │   ├── EmptyDocument            no text in it
    │   ├── EncryptedDocument        needs a password
    │   ├── BrokenDocument           damaged, or not what it says it is
    │   ├── DocumentTooLarge         over the size limit
    │   ├── DocumentTooCostly        over the time or memory limit while it was read
    │   └── RefusedText              the embedding endpoint does not take a text of it
    ├── ModelError               an embedding model's files cannot be had
    │   ├── ModelMissing             not pulled yet
    │   └── ModelCorrupt             a file's hash is not the pinned one
    ├── FingerprintMismatch      the vectors at hand and the embedding settings do not belong together
    ├── PromptTooLong            question and instructions leave no room in the prompt's token budget
    ├── ProviderError            a remote model endpoint failed
    │   ├── ProviderUnavailable      … in a way that a later try may mend
    │   └── TextsRefused             some texts were not embedded; the vectors of the others are at hand
    ├── CatalogError             PostgreSQL refused or failed
    │   ├── CatalogUnavailable       … cannot be reached, or went away
    │   └── GenerationDropped        nothing can be written to this generation any more
    └── IndexFailure             the index refused or failed (the catalog is untouched: it can be rebuilt)
        ├── IndexUnavailable         … it cannot be reached or started, or is being rebuilt
        ├── IndexReadOnly            … it takes no writes: its disk is full, or it was set so
        ├── IndexTooOld              … the engine's version lacks what is needed
        └── WrongDimensions          … a vector has another length than those of its space

Each carries a stable `code`, a message that says what happened, and a `hint` that says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class RagstoneError(Exception):
    """The root of the tree. `str(error)` is the message; `hint` may be empty."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SettingsError(RagstoneError):
    code = "settings"


class FilterError(RagstoneError):
    code = "filter"


class NothingIndexed(RagstoneError):
    code = "nothing_indexed"


class SourceError(RagstoneError):
    code = "source"


class DocumentError(RagstoneError):
    code = "document"


class UnreadableDocument(DocumentError):
    code = "unreadable"


class DocumentGone(UnreadableDocument):
    code = "gone"


class DocumentUnavailable(UnreadableDocument):
    """`retry_after`: the seconds that whoever refused asked to wait, where it said so."""

    code = "unavailable"

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class UnsupportedDocument(DocumentError):
    code = "unsupported"


class EmptyDocument(DocumentError):
    code = "empty"


class EncryptedDocument(DocumentError):
    code = "encrypted"


class BrokenDocument(DocumentError):
    code = "broken"


class DocumentTooLarge(DocumentError):
    code = "too_large"


class DocumentTooCostly(DocumentError):
    code = "too_costly"


class RefusedText(DocumentError):
    code = "refused_text"


class ModelError(RagstoneError):
    code = "model"


class ModelMissing(ModelError):
    code = "model_missing"


class ModelCorrupt(ModelError):
    code = "model_corrupt"


class FingerprintMismatch(RagstoneError):
    code = "fingerprint_mismatch"


class PromptTooLong(RagstoneError):
    code = "prompt_too_long"


class ProviderError(RagstoneError):
    code = "provider"


class ProviderUnavailable(ProviderError):
    """`retry_after`: the seconds that the endpoint asked to wait, where it said so."""

    code = "provider_unavailable"

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class TextsRefused(ProviderError):
    """`refused`: why, by the text's place in the call; `vectors`: a row for each text, of NaN for a refused one."""

    code = "texts_refused"

    def __init__(
        self, message: str, *, hint: str = "", refused: Mapping[int, str], vectors: npt.NDArray[np.float32]
    ) -> None:
        super().__init__(message, hint=hint)
        self.refused = refused
        self.vectors = vectors


class CatalogError(RagstoneError):
    code = "catalog"


class CatalogUnavailable(CatalogError):
    code = "catalog_unavailable"


class GenerationDropped(CatalogError):
    code = "generation_dropped"


class IndexFailure(RagstoneError):
    code = "index"


class IndexUnavailable(IndexFailure):
    code = "index_unavailable"


class IndexReadOnly(IndexFailure):
    code = "index_read_only"


class IndexTooOld(IndexFailure):
    code = "index_too_old"


class WrongDimensions(IndexFailure):
    code = "wrong_dimensions"
