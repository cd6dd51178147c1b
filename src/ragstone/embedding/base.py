"""An embedder turns texts into vectors of one fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from ragstone.models import Fingerprint, Vectors

Lane = Literal["query", "live", "backfill"]
"""Questions go before changes of documents, and those before bulk work. The last two are document texts to a model."""


class Embedder(Protocol):
    """A model at a revision, ready to use."""

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def max_tokens(self) -> int:
        """The most tokens one text may have, the model's special tokens and lane prefix already taken off."""
        ...

    def count(self, text: str) -> int:
        """Tokens of the text by the model's own tokenizer, special tokens not counted."""
        ...

    async def embed(self, texts: Sequence[str], lane: Lane) -> Vectors:
        """One unit-length float32 row a text, in order; an empty list gives a [0, dimensions] matrix.

        A vector depends on its text alone, never on what else is in the call. Raises ProviderError.
        """
        ...

    async def aclose(self) -> None: ...
