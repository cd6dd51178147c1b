"""A generator writes the answer to a prompt, a piece at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from ragstone.models import Prompt


class Generator(Protocol):
    """A model (or a method that needs none) that answers."""

    @property
    def name(self) -> str:
        """Provider and model, as shown to people."""
        ...

    @property
    def context_window(self) -> int:
        """Tokens that prompt and answer may have together."""
        ...

    def count(self, text: str) -> int:
        """Tokens of the text by the generator's own tokenizer, or more."""
        ...

    def stream(self, prompt: Prompt, max_tokens: int) -> AsyncGenerator[str, None]:
        """Pieces of the answer as they come; sources are cited as `[n]`.

        An answer of no pieces means that the passages do not hold the answer. Closing the iterator cancels the
        work upstream. Raises ProviderError; ProviderUnavailable only before the first piece.
        """
        ...

    async def aclose(self) -> None: ...
