"""Rows of fragments → tables: stretches of rows that leave the same gutters free."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from statistics import median
from typing import TypeAlias

from ragstone.parsing.fragments import HYPHEN, Fragment
from ragstone.parsing.hyphens import Hyphens

Row: TypeAlias = Sequence[Fragment]
Gap: TypeAlias = tuple[float, float]

BETWEEN_CELLS = " | "
FAR = 3.5
"""A row this many type sizes below the last is not of the same table."""

CLOSE = 1.35
"""A row at most this many type sizes below the last may be the second line of its cells."""

ODD = 0.15
"""The share of rows that may run across a gutter."""

SPANNING = 0.35
"""Cells over several columns count for nothing as long as there are no more of them than this for each row."""


FILLED = 0.45
"""The share of a table's cells that have something in them, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Consecutive rows: those of a table, or (`cells` empty) those of text."""

    rows: tuple[Row, ...]
    cells: tuple[tuple[str, ...], ...] = ()


def stretches(rows: Sequence[Row], hyphens: Hyphens) -> list[Stretch]:
    """All rows, from top to bottom, tables and text apart."""
    found: list[Stretch] = []
    text: list[Row] = []
    at = 0
    while at < len(rows):
        end = _end(rows, at)
        gutters = _gutters(rows[at:end]) if end - at > 1 else []
        if gutters and _is_table(rows[at:end], gutters):
            found += [Stretch(rows=tuple(text))] if text else []
            found.append(Stretch(rows=tuple(rows[at:end]), cells=_cells(rows[at:end], gutters, hyphens)))
            text, at = [], end
        else:
            text.append(rows[at])
            at += 1
    return [*found, Stretch(rows=tuple(text))] if text else found


def _end(rows: Sequence[Row], first: int) -> int:
    """Where the stretch ends that begins here, and in which at least one gutter stays free."""
    free = _gaps(rows[first])[1:-1]
    end = first + 1
    for at in range(first + 1, len(rows)):
        above, row = rows[at - 1], rows[at]
        left = _common(free, _gaps(row), 0.5 * row[0].size)
        if not left or (len(row) == 1 and len(left) < len(free)) or above[0].y - row[0].y > FAR * row[0].size:
            break
        free = left
        if len(row) > 1 or (row[0].x0 > free[0][0] and above[0].y - row[0].y <= CLOSE * row[0].size and at == end):
            end = at + 1
    return end


def _gaps(row: Row) -> list[Gap]:
    """What a row leaves free, from far left to far right. Code keeps its own columns."""
    if all(fragment.mono for fragment in row):
        return [(-inf, inf)]
    edges = [(-inf, -inf), *((fragment.x0, fragment.x1) for fragment in row), (inf, inf)]
    return [(left[1], right[0]) for left, right in pairwise(edges)]


def _common(some: Sequence[Gap], others: Sequence[Gap], least: float) -> list[Gap]:
    shared = ((max(a[0], b[0]), min(a[1], b[1])) for a in some for b in others)
    return [(start, end) for start, end in shared if end - start >= least]


def _gutters(rows: Sequence[Row]) -> list[float]:
    """The middles of the zones between columns that (almost) no row covers."""
    odd = int(ODD * len(rows))
    over = _over_several(rows)
    within = [f for row in rows for f in row if len(over) > SPANNING * len(rows) or id(f) not in over]
    steps = sorted((x, step) for f in within for x, step in ((f.x0, 1), (f.x1, -1)))
    least = 0.5 * median(fragment.size for row in rows for fragment in row)
    found: list[float] = []
    covered, since = 0, inf
    for x, step in steps:
        if step > 0 and covered == odd and x - since >= least:
            found.append((since + x) / 2)
        covered += step
        if covered == odd and step < 0:
            since = x
    return found


def _over_several(rows: Sequence[Row]) -> set[int]:
    """The fragments (by identity) that stand over or under two or more of one of the fullest rows."""
    fullest = sorted(rows, key=len)[-5:]
    return {
        id(fragment)
        for row in rows
        for fragment in row
        if any(sum(f.x0 < fragment.x1 and fragment.x0 < f.x1 for f in full) > 1 for full in fullest)
    }


def _is_table(rows: Sequence[Row], gutters: Sequence[float]) -> bool:
    """At least three rows with two filled cells or more, or two rows with three; formulas leave most cells empty."""
    filled = [len({bisect(gutters, fragment.x0) for fragment in row}) for row in rows]
    several = sum(cells > 1 for cells in filled)
    if 2 * several < len(rows) or sum(filled) < FILLED * len(rows) * (len(gutters) + 1):
        return False
    return (several > 2 or sum(cells > 2 for cells in filled) > 1) and _are_straight(rows, gutters)


def _are_straight(rows: Sequence[Row], gutters: Sequence[float]) -> bool:
    """Whether the cells of most columns share an edge or the middle: words of justified text do not.

    Its last words do, on the right, where numbers do in a table.
    """
    columns: dict[int, list[Fragment]] = {}
    for row in rows:
        for left, right in pairwise(row):
            if (at := bisect(gutters, right.x0)) > bisect(gutters, left.x0):
                columns.setdefault(at, []).append(right)
    straight = [_is_straight(cells, is_last=at == max(columns)) for at, cells in columns.items()]
    return 2 * sum(straight) >= len(straight)


def _is_straight(cells: Row, *, is_last: bool) -> bool:
    left, right = [cell.x0 for cell in cells], [cell.x1 for cell in cells]
    numbers = 2 * sum(any(map(str.isdigit, cell.text)) for cell in cells) > len(cells)
    if is_last and _share(right) and not numbers:
        return max(left) - min(left) < 1
    return _share(left) or _share(right) or _share([(cell.x0 + cell.x1) / 2 for cell in cells])


def _share(edges: Sequence[float]) -> bool:
    """Whether most are (almost) equal."""
    middle = median(edges)
    return 5 * sum(abs(edge - middle) < 2.5 for edge in edges) >= 3 * len(edges)


def _cells(rows: Sequence[Row], gutters: Sequence[float], hyphens: Hyphens) -> tuple[tuple[str, ...], ...]:
    """The cells of each row; second lines of cells go to the row above."""
    steps = [above[0].y - below[0].y for above, below in pairwise(rows)]
    found: list[list[str]] = []
    for row, step in zip(rows, [inf, *steps], strict=True):
        cells = [""] * (len(gutters) + 1)
        for fragment in row:
            at = bisect(gutters, fragment.x0)
            cells[at] = f"{cells[at]} {fragment.text}".strip()
        if found and _goes_on(cells, step, row[0].size, median(steps)):
            found[-1] = [
                " ".join(hyphens.mend(a, b)).strip() if a or b else "" for a, b in zip(found[-1], cells, strict=True)
            ]
        else:
            found.append(cells)
    return tuple(tuple(cell.replace(HYPHEN, "-") for cell in cells) for cells in found)


def _goes_on(cells: Sequence[str], step: float, size: float, usual: float) -> bool:
    """Whether a row holds only second lines: close below, few cells, and the first one empty or nothing beside it."""
    filled = sum(map(bool, cells))
    if step > CLOSE * size or 2 * filled > len(cells):
        return False
    return not cells[0] or (filled == 1 and step < 0.85 * usual)
