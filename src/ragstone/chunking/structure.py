"""Chunks that follow the document: sections first, then whole blocks, then sentences, rows or lines."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from ragstone.chunking.boundaries import CUTS, Cut
from ragstone.chunking.draft import Draft, Measure
from ragstone.chunking.words import Words
from ragstone.models import BlockKind, Chunk, Document
from ragstone.tokens import TokenCounter

SMALL = 6
"""A section smaller than one of this many parts of a chunk shares one with its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Words from `first` up to, without, `last` that stay together: a block, or a part of one that is too large."""

    kind: BlockKind
    section: int
    first: int
    last: int
    whole: bool = True


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
        for group in _joined(_sections(_blocks(draft)), draft):
            self._pack(draft, list(_fitted(draft, group)), chunks)
        return chunks

    def _pack(self, draft: Draft, pieces: list[Piece], chunks: list[Chunk]) -> None:
        """Fill chunk after chunk with as many pieces as it takes."""
        begin, first = 0, pieces[0].first
        while begin < len(pieces):
            end = _filled(draft, pieces, begin, first)
            chunk, end = self._exact(draft, pieces, len(chunks), begin, end, first)
            chunks.append(chunk)
            if end < len(pieces):
                first = self._overlapping(draft, pieces, end, draft.words.at(chunk.start))
            begin = end

    def _exact(
        self, draft: Draft, pieces: list[Piece], ordinal: int, begin: int, end: int, first: int
    ) -> tuple[Chunk, int]:
        """The chunk of these pieces and its end; made smaller when the sum of the words said too little."""
        while True:
            chunk = draft.chunk(ordinal, first, pieces[end - 1].last)
            if chunk.tokens <= self._measure.max_tokens:
                return chunk, end
            piece = pieces[begin]
            if first < piece.first:
                first = piece.first
            elif end > begin + 1:
                end -= 1
            elif piece.last > piece.first + 1:
                middle = (piece.first + piece.last) // 2
                pieces[begin:end] = [
                    replace(piece, last=middle, whole=False),
                    replace(piece, first=middle, whole=False),
                ]
            else:
                return chunk, end

    def _overlapping(self, draft: Draft, pieces: Sequence[Piece], begin: int, before: int) -> int:
        """Where the chunk of the pieces from `begin` starts when it repeats the end of the one before.

        Only whole parts of the same section are repeated, and only as much as leaves room for the first piece.
        The chunk before started at the word `before`: it is not repeated as a whole.
        """
        new, size = pieces[begin], draft.words.size
        start = new.first
        budget = min(self._overlap, draft.narrowest_room(new.section) - size(new.first, new.last))
        for index in range(begin - 1, -1, -1):
            parts = _repeatable(draft, pieces[index]) if pieces[index].section == new.section else []
            for part in reversed(parts):
                if part <= before or size(part, new.first) > budget:
                    return start
                start = part
            if not parts:
                break
        return start


def _blocks(draft: Draft) -> Iterator[Piece]:
    """The document's blocks, and what stands between them, none across a section's start."""
    words, document = draft.words, draft.document
    starts = [words.at(block.start) for block in document.blocks]
    ends = [words.at(block.end) for block in document.blocks]
    cuts = {0, len(words), *starts, *ends, *(words.at(section.start) for section in document.sections)}
    for first, last in pairwise(sorted(cuts)):
        block = bisect_right(starts, first) - 1
        kind: BlockKind = document.blocks[block].kind if block >= 0 and first < ends[block] else "paragraph"
        yield Piece(kind=kind, section=draft.section(first).ordinal, first=first, last=last)


def _sections(blocks: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Each section's own blocks."""
    return (list(own) for _, own in groupby(blocks, key=lambda block: block.section))


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
    whole = words.size(section[0].first, max(section[-1].last, words.at(sections[section[0].section].end)))
    together = words.size(group[0].first, section[-1].last)
    return not bare and whole < small and together <= draft.room(group[0].first)


def _fitted(draft: Draft, blocks: Sequence[Piece]) -> Iterator[Piece]:
    """The blocks, the too large ones cut; the first part of a block leaves room for the headings before it."""
    room = min(draft.narrowest_room(section) for section in {block.section for block in blocks})
    headings = 0
    for block in blocks:
        limit = room - headings if 2 * headings < room else room
        yield from _cut(draft, block, CUTS[block.kind], limit, room)
        headings = headings + draft.words.size(block.first, block.last) if block.kind == "heading" else 0


def _cut(draft: Draft, piece: Piece, cuts: Sequence[Cut], limit: int, room: int) -> Iterator[Piece]:
    """The piece if it fits, or else its parts, as large as they may be. The first may have `limit` tokens."""
    if draft.words.size(piece.first, piece.last) <= limit:
        yield piece
    elif cuts:
        for part in _parts(piece, _part_starts(draft, piece, cuts[0])):
            yield from _cut(draft, part, cuts[1:], limit, room)
            limit = room
    else:
        yield from _parts(piece, _word_runs(draft.words, piece, limit, room))


def _parts(piece: Piece, starts: Sequence[int]) -> Iterator[Piece]:
    for first, last in pairwise([*starts, piece.last]):
        yield replace(piece, first=first, last=last, whole=False)


def _part_starts(draft: Draft, piece: Piece, cut: Cut) -> list[int]:
    """The words at which parts begin, the piece's own first word included."""
    words, document = draft.words, draft.document
    start, end = words.starts[piece.first], words.ends[piece.last - 1]
    language = str(document.metadata.get("lang") or "en")[:2].lower()
    found = {words.at(start + offset) for offset in cut(document.text[start:end], language)}
    return sorted(word for word in {piece.first, *found} if word < piece.last)


def _word_runs(words: Words, piece: Piece, limit: int, room: int) -> list[int]:
    """Where runs of words begin when nothing better is left to cut at."""
    starts = [piece.first]
    while (reached := words.reach(starts[-1], limit)) < piece.last:
        starts.append(words.spaced(starts[-1], reached))
        limit = room
    return starts


def _repeatable(draft: Draft, piece: Piece) -> list[int]:
    """The words from which the end of a piece may be repeated. Code is repeated whole, a heading never."""
    if piece.kind == "heading" or (piece.kind == "code" and not piece.whole):
        return []
    return [piece.first] if piece.kind == "code" else _part_starts(draft, piece, CUTS[piece.kind][0])


def _filled(draft: Draft, pieces: Sequence[Piece], begin: int, first: int) -> int:
    """The end of the longest run of pieces that fits into a chunk; headings at its end go to the next one."""
    room = draft.room(first)
    end = begin + 1
    while end < len(pieces) and draft.words.size(first, pieces[end].last) <= room:
        end += 1
    trimmed = end
    while end < len(pieces) and trimmed > begin and pieces[trimmed - 1].kind == "heading":
        trimmed -= 1
    return trimmed if trimmed > begin else end
