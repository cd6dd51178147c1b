"""A chunker cuts a document into chunks that an embedding model can take whole."""

from __future__ import annotations

from typing import Protocol

from ragstone.models import Chunk, Document


class Chunker(Protocol):
    """One strategy with its settings.

    For every chunk: `document.text[start:end] == text`, and `tokens` (prefix included) is at most the limit the
    chunker was made with. Chunks are ordered by `start`; together they cover all non-blank text; the same document
    gives the same chunks.
    """

    def chunk(self, document: Document) -> list[Chunk]: ...
