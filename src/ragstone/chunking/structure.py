"""Chunks that follow the document: sections first, then whole blocks, then sentences, rows or lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ragstone.chunking.draft import Draft, Measure
from ragstone.chunking.pieces import Piece, by_section, fitted, repeatable
from ragstone.models import Chunk, Document
from ragstone.tokens import TokenCounter

SMALL = 6
"""A section smaller than one of this many parts of a chunk shares one with its neighbours."""


class Structure:
    """Packs blocks up to the limit, section by section.

    - A heading stays with the text that follows it.
    - Small sections share a chunk with their neighbours under the same parent.
    - Sentences, rows, items and code are whole wherever the limit allows.
    - Neighbouring chunks of one section overlap by whole sentences, rows, items or blocks.
    """

    def __init__(self, count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> None:
        self._measure = Measure(count, max_tokens, prefix=prefix)
        self._overlap = int(overlap * max_tokens)

    def chunk(self, document: Document) -> list[Chunk]:
        """The document's sections in order, the small ones joined, each packed into chunks."""
        draft = Draft(document, self._measure)
        chunks: list[Chunk] = []
        for group in _joined(by_section(draft), draft):
            chunks.extend(_Packing(draft, list(fitted(draft, group)), self._overlap).chunks(len(chunks)))
        return chunks


def _joined(sections: Iterable[list[Piece]], draft: Draft) -> Iterator[list[Piece]]:
    """Sections by the chunks they share: small ones with their neighbours, bare headings with what follows."""
    group: list[Piece] = []
    for section in sections:
        if group and _belong_together(group, section, draft):
            group.extend(section)
        else:
            if group:
                yield group
            group = section
    if group:
        yield group


def _belong_together(group: Sequence[Piece], section: Sequence[Piece], draft: Draft) -> bool:
    words, sections = draft.words, draft.document.sections
    parent = sections[group[0].section].parent
    if parent is not None and words.starts[section[0].first] >= sections[parent].end:
        return False
    small = draft.measure.max_tokens // SMALL
    if group[-1].kind == "heading" or words.size(group[0].first, group[-1].last) < small:
        return True
    bare = all(piece.kind == "heading" for piece in section)
    with_subsections = words.size(section[0].first, words.at(sections[section[0].section].end))
    together = words.size(group[0].first, section[-1].last)
    return not bare and with_subsections < small and together <= draft.room(group[0].first)


class _Packing:
    """Fills chunk after chunk with pieces that belong together."""

    def __init__(self, draft: Draft, pieces: list[Piece], overlap: int) -> None:
        self._draft = draft
        self._pieces = pieces
        self._overlap = overlap  # in tokens

    def chunks(self, ordinal: int) -> Iterator[Chunk]:
        """All of the pieces, in chunks that are counted from `ordinal`."""
        begin, first = 0, self._pieces[0].first
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
        pieces, room = self._pieces, self._draft.room(first)
        end = begin + 1
        while end < len(pieces) and self._draft.words.size(first, pieces[end].last) <= room:
            end += 1
        return self._before_headings(begin, end)

    def _before_headings(self, begin: int, end: int) -> int:
        """The end moved before headings that it would part from their text; one piece stays at least."""
        while begin + 1 < end < len(self._pieces) and self._pieces[end - 1].kind == "heading":
            end -= 1
        return end

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
