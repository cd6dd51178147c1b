"""A region of a page → lines from top to bottom, the rows of its tables among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ragstone.parsing.fragments import Fragment, rows
from ragstone.parsing.hyphens import Hyphens
from ragstone.parsing.tables import BETWEEN_CELLS, Row, Stretch, stretches

NEAR = 2.2
"""Lines at most this many type sizes apart are read together, whatever stands beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a page (counted from 0) and the place it takes there; `right` is where its region's lines end.

    `row` is the row's number, from 0, in a table, `region` the number of the region on its page.
    """

    text: str
    page: int
    region: int
    x0: float
    x1: float
    y: float
    right: float
    size: float
    bold: bool
    mono: bool
    row: int | None = None


def lines(fragments: Sequence[Fragment], page: int, region: int, hyphens: Hyphens) -> list[Line]:
    """The lines of one region."""
    right = max((fragment.x1 for fragment in fragments), default=0.0)
    place = {id(fragment): number for number, fragment in enumerate(fragments)}
    found: list[Line] = []
    for stretch in stretches(rows(fragments), hyphens):
        if stretch.cells:
            found += _table(stretch, page, region, right)
        else:
            found += _downwards([_line(row, page, region, right) for row in _joined(stretch.rows, place)])
    return found


def _table(stretch: Stretch, page: int, region: int, right: float) -> list[Line]:
    every = [fragment for row in stretch.rows for fragment in row]
    first = _line(every, page, region, right)
    low = min(fragment.y for fragment in every)
    return [
        replace(first, text=BETWEEN_CELLS.join(cells).strip(), row=number, y=low if number else first.y)
        for number, cells in enumerate(stretch.cells)
    ]


def _joined(found: Sequence[Row], place: Mapping[int, int]) -> list[list[Fragment]]:
    """Fragments of the same line, in the order of the file; what almost touches is one line in any order."""
    chains: list[list[Fragment]] = []
    for row in found:
        for at, fragment in enumerate(row):
            if at and fragment.x0 - row[at - 1].x1 <= fragment.size:
                chains[-1].append(fragment)
            else:
                chains.append([fragment])
    chains.sort(key=lambda chain: min(place[id(fragment)] for fragment in chain))
    joined: list[list[Fragment]] = []
    for chain in chains:
        if joined and _goes_on(joined[-1][-1], chain[0]):
            joined[-1] += chain
        else:
            joined.append(chain)
    return joined


def _goes_on(left: Fragment, right: Fragment) -> bool:
    return abs(left.y - right.y) < 0.5 * max(left.size, right.size) and left.x1 <= right.x1


def _line(row: Row, page: int, region: int, right: float) -> Line:
    longest = max(row, key=lambda fragment: len(fragment.text))
    return Line(
        text=_spaced(row),
        page=page,
        region=region,
        x0=min(fragment.x0 for fragment in row),
        x1=max(fragment.x1 for fragment in row),
        y=longest.y,
        right=right,
        size=longest.size,
        bold=all(fragment.bold for fragment in row),
        mono=all(fragment.mono for fragment in row),
    )


def _spaced(row: Row) -> str:
    """Fragments joined: in a fixed-pitch face with as many spaces as stand between them."""
    text = row[0].text
    for left, right in pairwise(row):
        width = (left.x1 - left.x0) / len(left.text) if left.mono and right.mono else 0
        text += " " * (max(1, min(round((right.x0 - left.x1) / width), 80)) if width > 0 else 1) + right.text
    return text


def _downwards(written: Sequence[Line]) -> list[Line]:
    """Lines in the order of the file, except that what stands wholly above something else comes first."""
    if all(above.y + 0.5 * above.size >= below.y for above, below in pairwise(written)):
        return list(written)
    runs: list[list[Line]] = []
    for line in _runs(written):
        at = len(runs)
        while at and line[-1].y > runs[at - 1][0].y + 0.5 * line[-1].size:
            at -= 1
        runs.insert(at, line)
    return [line for run in runs for line in run]


def _runs(written: Sequence[Line]) -> list[list[Line]]:
    """Lines that follow each other closely, in the file and on the page."""
    found: list[list[Line]] = []
    for line in written:
        above = found[-1][-1] if found else None
        if above and 0 < above.y - line.y <= NEAR * line.size and above.x0 < line.x1 and line.x0 < above.x1:
            found[-1].append(line)
        else:
            found.append([line])
    return found
