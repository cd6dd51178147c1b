"""Pieces into chunks: as many as fit, the end of one repeated at the start of the next."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ragstone.chunking.draft import Draft
from ragstone.chunking.pieces import Piece, repeatable
from ragstone.models import Chunk


class Packing:
    """Fills chunk after chunk with pieces of one document. Headings stay with what follows them."""

    def __init__(self, draft: Draft, pieces: list[Piece], overlap: int, breaks: Collection[int] = ()) -> None:
        """At most `overlap` tokens are repeated. No chunk goes on past one of the words in `breaks`."""
        self._draft = draft
        self._pieces = pieces
        self._overlap = overlap
        self._breaks = breaks

    def chunks(self, ordinal: int = 0) -> Iterator[Chunk]:
        """All of the pieces, in chunks that are counted from `ordinal`."""
        begin, first = 0, self._pieces[0].first if self._pieces else 0
        while begin < len(self._pieces):
            chunk, end = self._chunk(ordinal, begin, first)
            yield chunk
            ordinal += 1
            if end < len(self._pieces):
                first = self._overlapping(end, self._draft.words.at(chunk.start))
            begin = end

    def _chunk(self, ordinal: int, begin: int, first: int) -> tuple[Chunk, int]:
        """A chunk from the word `first` with the pieces from `begin`, and where they end.

        It is made smaller for as long as the sum of the words said too little.
        """
        end = self._filled(begin, first)
        while True:
            chunk = self._draft.chunk(ordinal, first, self._pieces[end - 1].last)
            if chunk.tokens <= self._draft.measure.max_tokens:
                return chunk, end
            halves = self._pieces[begin].halves()
            if first < self._pieces[begin].first:
                first = self._pieces[begin].first
            elif end > begin + 1:
                end = self._before_headings(begin, end - 1)
            elif len(halves) > 1:
                self._pieces[begin:end] = halves
            else:
                return chunk, end

    def _filled(self, begin: int, first: int) -> int:
        """The end of the longest run of pieces that fits; headings at its end go to the next chunk."""
        room = self._draft.room(first)
        end = begin + 1
        while end < len(self._pieces) and self._goes_on(first, self._pieces[end], room):
            end += 1
        return self._before_headings(begin, end)

    def _goes_on(self, first: int, piece: Piece, room: int) -> bool:
        return piece.first not in self._breaks and self._draft.words.size(first, piece.last) <= room

    def _before_headings(self, begin: int, end: int) -> int:
        """The end moved before headings that it would part from their text: of headings alone, before the last."""
        if end == len(self._pieces):
            return end
        moved = end
        while moved > begin and self._pieces[moved - 1].kind == "heading":
            moved -= 1
        return moved if moved > begin else max(end - 1, begin + 1)

    def _overlapping(self, begin: int, before: int) -> int:
        """The word at which the chunk of the pieces from `begin` starts when it repeats the end of the one before.

        Only whole parts of the same section are repeated, and only as much as leaves room for the first piece.
        The chunk before started at the word `before`: it is not repeated as a whole.
        """
        new, size = self._pieces[begin], self._draft.words.size
        start = new.first
        budget = min(self._overlap, self._draft.narrowest_room(new.section) - size(new.first, new.last))
        for piece in (self._pieces[index] for index in range(begin - 1, -1, -1)):
            parts = repeatable(self._draft, piece) if piece.section == new.section else []
            for part in reversed(parts):
                if part <= before or size(part, new.first) > budget:
                    return start
                start = part
            if not parts:
                break
        return start
