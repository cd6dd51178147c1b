"""Whole paragraphs where they fit, else their sentences, else words."""

from __future__ import annotations

from ragstone.chunking.draft import Draft, Measure
from ragstone.chunking.packing import Packing
from ragstone.chunking.pieces import blocks
from ragstone.models import Chunk, Document
from ragstone.tokens import TokenCounter


class Recursive:
    """Each chunk holds as many whole paragraphs as fit, whatever section they are in.

    A paragraph larger than a chunk is cut into sentences (a list into items, a table into rows, code into lines), and
    what is still larger between words. Whole sentences, items and rows of the chunk before are repeated.
    """

    def __init__(self, count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> None:
        self._measure = Measure(count, max_tokens, prefix=prefix)
        self._overlap = int(overlap * max_tokens)

    def chunk(self, document: Document) -> list[Chunk]:
        """The document's paragraphs from first to last."""
        draft = Draft(document, self._measure)
        return list(Packing(draft, blocks(draft), self._overlap).chunks())
