"""A document's blocks as pieces: what a chunk holds whole, as large as the limit allows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from ragstone.chunking.boundaries import CUTS, Cut
from ragstone.chunking.draft import Draft
from ragstone.chunking.words import Words
from ragstone.models import BlockKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Words from `first` up to, without, `last` that stay together: a block, or a part of one that is too large."""

    kind: BlockKind
    section: int
    first: int
    last: int
    whole: bool = True

    def halves(self) -> list[Piece]:
        """Two pieces instead of this one; itself when it is a single word."""
        middle = (self.first + self.last) // 2
        if middle == self.first:
            return [self]
        return [replace(self, last=middle, whole=False), replace(self, first=middle, whole=False)]


def by_section(draft: Draft) -> Iterator[list[Piece]]:
    """Each section's own blocks, in text order; what stands between blocks is a paragraph."""
    return (list(own) for _, own in groupby(_blocks(draft), key=lambda block: block.section))


def fitted(draft: Draft, blocks: Sequence[Piece]) -> Iterator[Piece]:
    """The blocks, the too large ones cut; the first part of a block leaves room for the headings before it."""
    room = min(draft.narrowest_room(section) for section in {block.section for block in blocks})
    headings = 0
    for block in blocks:
        limit = room - headings if 2 * headings < room else room
        yield from _cut(draft, block, CUTS[block.kind], limit, room)
        headings = headings + draft.words.size(block.first, block.last) if block.kind == "heading" else 0


def blocks(draft: Draft) -> list[Piece]:
    """The whole document in blocks, those cut that are larger than a chunk."""
    return [piece for section in by_section(draft) for piece in fitted(draft, section)]


def sentences(draft: Draft) -> list[Piece]:
    """The whole document in sentences and list items; headings, tables and code are whole where they fit."""
    fine = ([part for block in section for part in _sentences(draft, block)] for section in by_section(draft))
    return [piece for section in fine for piece in fitted(draft, section)]


def repeatable(draft: Draft, piece: Piece) -> list[int]:
    """The words from which the end of a piece may be repeated. Code is repeated whole, a heading never."""
    if piece.kind == "heading" or (piece.kind == "code" and not piece.whole):
        return []
    return [piece.first] if piece.kind == "code" else _part_starts(draft, piece, CUTS[piece.kind][0])


def _blocks(draft: Draft) -> Iterator[Piece]:
    """The whole document as blocks, none across a section's start."""
    words, document = draft.words, draft.document
    starts = [words.at(block.start) for block in document.blocks]
    ends = [words.at(block.end) for block in document.blocks]
    cuts = {0, len(words), *starts, *ends, *(words.at(section.start) for section in document.sections)}
    for first, last in pairwise(sorted(cuts)):
        block = bisect_right(starts, first) - 1
        kind: BlockKind = document.blocks[block].kind if block >= 0 and first < ends[block] else "paragraph"
        yield Piece(kind=kind, section=draft.section(first).ordinal, first=first, last=last)


def _sentences(draft: Draft, block: Piece) -> list[Piece]:
    parts = [block]
    for cut in CUTS[block.kind] if block.kind in ("paragraph", "list") else ():
        parts = [part for whole in parts for part in _parts(whole, _part_starts(draft, whole, cut))]
    return parts


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


def _parts(piece: Piece, starts: Iterable[int]) -> Iterator[Piece]:
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
