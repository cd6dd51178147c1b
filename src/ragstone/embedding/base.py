"""An embedder turns texts into vectors of one fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ragstone.models import Fingerprint, Vectors

Lane = Literal["query", "live", "backfill"]
"""Questions go before changes of documents, and those before bulk work. The last two are document texts to a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an embedder has done since it was made."""

    texts: int = 0
    tokens: int = 0  # as an endpoint bills them; none where nobody bills
    requests: int = 0  # that were answered with vectors
    money: float = 0.0  # tokens by the price, in the price's currency


class Embedder(Protocol):
    """A model at a revision, ready to use."""

    @property
    def fingerprint(self) -> Fingerprint: ...

    @property
    def max_tokens(self) -> int:
        """The most tokens one text may have, the model's special tokens and lane prefix already taken off."""
        ...

    @property
    def price(self) -> float:
        """Money for a million tokens; 0 where nothing is charged."""
        ...

    @property
    def usage(self) -> Usage: ...

    def count(self, text: str) -> int:
        """Tokens of the text by the model's own tokenizer, special tokens not counted."""
        ...

    async def embed(self, texts: Sequence[str], lane: Lane) -> Vectors:
        """One unit-length float32 row a text, in order; an empty list gives a [0, dimensions] matrix.

        A vector depends on its text alone, never on what else is in the call. Raises ProviderError, and of it
        TextsRefused when single texts cannot be embedded: it has the vectors of the others.
        """
        ...

    async def aclose(self) -> None: ...
