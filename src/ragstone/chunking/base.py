"""A chunker cuts a document into chunks that an embedding model can take whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from ragstone.models import Chunk, Document, Vectors

Embed: TypeAlias = Callable[[Sequence[str]], Vectors]
"""Unit-length vectors of texts that are within the model's limit, one row a text; it blocks until they are there."""


class Chunker(Protocol):
    """One strategy with its settings.

    For every chunk: `document.text[start:end] == text`, and `tokens` (prefix included) is at most the limit the
    chunker was made with. Chunks are ordered by `start`; together they cover all non-blank text; the same document
    gives the same chunks.
    """

    def chunk(self, document: Document) -> list[Chunk]:
        """Takes CPU time, and may wait for an embedder: call it in a worker thread."""
        ...
