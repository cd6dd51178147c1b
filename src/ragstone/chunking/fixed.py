"""Windows of equal size over the text, whatever its structure."""

from __future__ import annotations

from ragstone.chunking.draft import Draft, Measure
from ragstone.models import Chunk, Document
from ragstone.tokens import TokenCounter


class Fixed:
    """Each chunk is as long as the limit allows and repeats the end of the one before it. Cuts between words."""

    def __init__(self, count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> None:
        self._measure = Measure(count, max_tokens, prefix=prefix)
        self._overlap = int(overlap * max_tokens)

    def chunk(self, document: Document) -> list[Chunk]:
        """Windows from the first word to the last."""
        draft = Draft(document, self._measure)
        chunks: list[Chunk] = []
        first = last = 0
        while last < len(draft.words):
            chunk, end = self._window(draft, len(chunks), first)
            if end <= last:  # nothing new fits behind the overlap
                first = last
                continue
            chunks.append(chunk)
            last = end
            first = max(first + 1, draft.words.back(last, self._overlap))
        return chunks

    def _window(self, draft: Draft, ordinal: int, first: int) -> tuple[Chunk, int]:
        """The longest chunk from a word, and where it ends; made shorter when the sum of the words said too little."""
        room = draft.room(first)
        while True:
            last = draft.words.reach(first, room)
            chunk = draft.chunk(ordinal, first, last)
            excess = chunk.tokens - self._measure.max_tokens
            if excess <= 0 or last == first + 1:
                return chunk, last
            room = min(room, draft.words.size(first, last)) - excess
