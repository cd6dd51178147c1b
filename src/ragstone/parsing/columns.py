"""The fragments of a page → regions in reading order: what stands across all columns, then column after column.

A gutter is looked for at the left edges that many fragments share. What crosses it divides the page into bands; in each
band the left side is read before the right one, and each side is divided again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import median

from ragstone.parsing.fragments import Fragment, rows

FEWEST = 4
"""Fewer lines beside each other are no columns."""

EDGES = 6
"""How many left edges are tried, the commonest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """Fragments before, behind and across a gutter; the indices are those of the page's fragments."""

    left: list[Fragment]
    right: list[Fragment]
    across: list[Fragment]


def regions(fragments: Sequence[Fragment]) -> list[list[Fragment]]:
    """Every fragment once; the fragments of a region stay in the order of the file."""
    cut = _cut(fragments)
    if cut is None:
        return [list(fragments)] if fragments else []
    place = {id(fragment): number for number, fragment in enumerate(fragments)}
    found: list[list[Fragment]] = []
    for band in _bands(cut):
        found += regions(sorted(band, key=lambda fragment: place[id(fragment)]))
    return found


def _bands(cut: _Cut) -> list[list[Fragment]]:
    """From top to bottom: what crosses the gutter together, and between that the left side and the right side."""
    across, left = ({id(fragment) for fragment in side} for side in (cut.across, cut.left))
    downwards = sorted([*cut.left, *cut.right, *cut.across], key=lambda fragment: -fragment.y)
    found: list[list[Fragment]] = []
    for crosses, band in groupby(downwards, key=lambda fragment: id(fragment) in across):
        together = list(band)
        sides = (
            [together] if crosses else [[f for f in together if (id(f) in left) == first] for first in (True, False)]
        )
        found += [side for side in sides if side]
    return found


def _cut(fragments: Sequence[Fragment]) -> _Cut | None:
    """The gutter with the most lines on both of its sides, if there is one."""
    if len(fragments) < 2 * FEWEST:
        return None
    cuts = (_cut_at(edge, fragments) for edge in _edges(fragments))
    return max((cut for cut in cuts if cut), key=lambda cut: min(len(cut.left), len(cut.right)), default=None)


def _edges(fragments: Sequence[Fragment]) -> list[float]:
    """Left edges that several fragments share, the leftmost apart."""
    shared = Counter(round(fragment.x0 / 2) for fragment in fragments)
    leftmost = min(shared)
    common = [(edge, count) for edge, count in shared.most_common(EDGES + 1) if edge > leftmost + 1]
    return [2.0 * edge for edge, count in common if count >= FEWEST]


def _cut_at(edge: float, fragments: Sequence[Fragment]) -> _Cut | None:
    right = [fragment for fragment in fragments if fragment.x0 >= edge - 2]
    left = [fragment for fragment in fragments if fragment.x1 <= edge + 0.5 * fragment.size and fragment.x0 < edge - 2]
    if len(left) < FEWEST or len(right) < FEWEST or len(left) + len(right) < 0.5 * len(fragments):
        return None
    beside = {id(fragment) for side in (left, right) for fragment in side}
    cut = _Cut(left=left, right=right, across=[f for f in fragments if id(f) not in beside])
    return cut if _are_columns(cut, fragments) else None


def _are_columns(cut: _Cut, fragments: Sequence[Fragment]) -> bool:
    """Columns stand beside each other almost undisturbed, and are of running text or were written one by one.

    Anything else whose parts stand side by side is a table, which is read row by row.
    """
    top = min(max(f.y for f in cut.left), max(f.y for f in cut.right))
    bottom = max(min(f.y for f in cut.left), min(f.y for f in cut.right))
    left, right, across = (
        [f for f in side if bottom - f.size <= f.y <= top + f.size] for side in (cut.left, cut.right, cut.across)
    )
    lines = rows(left), rows(right)
    if min(map(len, lines)) < FEWEST or len(across) > 0.2 * (len(left) + len(right)):
        return False
    return all(map(_is_prose, lines)) or (_turns(left, fragments) <= 1 and not _aligned(*lines))


def _is_prose(lines: Sequence[Sequence[Fragment]]) -> bool:
    """Most lines have several words and fill their column."""
    widths = sorted(max(f.x1 for f in line) - min(f.x0 for f in line) for line in lines)
    usual = widths[int(0.85 * (len(widths) - 1))]
    words = median(sum(fragment.text.count(" ") + 1 for fragment in line) for line in lines)
    return words >= 3 and median(widths) >= 0.65 * usual and usual >= 8 * lines[0][0].size


def _turns(left: Sequence[Fragment], fragments: Sequence[Fragment]) -> int:
    """How often the file goes over from the left side to anything else."""
    on_the_left = {id(fragment) for fragment in left}
    sides = [id(fragment) in on_the_left for fragment in fragments]
    return sum(before and not after for before, after in pairwise(sides))


def _aligned(left: Sequence[Sequence[Fragment]], right: Sequence[Sequence[Fragment]]) -> bool:
    """Whether the lines of the shorter side share baselines with those of the other, as the rows of tables do."""
    short, long = sorted((left, right), key=len)
    heights = [line[0].y for line in long]
    return sum(any(abs(line[0].y - y) < 1.5 for y in heights) for line in short) > 0.9 * len(short)
