"""Whole sentences, packed up to the limit."""

from __future__ import annotations

from ragstone.chunking.draft import Draft, Measure
from ragstone.chunking.packing import Packing
from ragstone.chunking.pieces import sentences
from ragstone.models import Chunk, Document
from ragstone.tokens import TokenCounter


class Sentence:
    """Each chunk holds as many whole sentences as fit, and repeats whole ones of the chunk before it.

    Sentences end by the rules of the document's language where it names one, else by those of English. List items
    are sentences too. Headings, tables and code are whole where they fit.
    """

    def __init__(self, count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> None:
        self._measure = Measure(count, max_tokens, prefix=prefix)
        self._overlap = int(overlap * max_tokens)

    def chunk(self, document: Document) -> list[Chunk]:
        """The document's sentences from first to last, whatever section they are in."""
        draft = Draft(document, self._measure)
        return list(Packing(draft, sentences(draft), self._overlap).chunks())
