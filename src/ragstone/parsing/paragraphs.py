"""Lines → paragraphs, items of lists, code and tables."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ragstone.models import BlockKind
from ragstone.parsing.fragments import ITEM
from ragstone.parsing.lines import Line

WIDE_GAP = 1.4
"""A gap of this many usual line distances separates paragraphs."""

_ITEM = re.compile(rf"(?:{ITEM.pattern})\s+\S")
_SENTENCE_END = re.compile(r"[.?!:;。！？؟][)\"'”’»]*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Lines that belong together; `lines` is never empty."""

    kind: BlockKind
    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """Its words on one line."""
        return " ".join(line.text for line in self.lines)


def paragraphs(lines: Sequence[Line], breaks: Collection[int]) -> list[Paragraph]:
    """All lines, in order; one begins at each of the line numbers in `breaks`."""
    usual = _usual_steps(lines)
    groups: list[list[Line]] = []
    for number, line in enumerate(lines):
        if groups and number not in breaks and not _opens(groups[-1], line, usual[line.page]):
            groups[-1].append(line)
        else:
            groups.append([line])
    kinds = [_kind(group[0]) for group in groups]
    return [
        Paragraph(
            kind="paragraph" if _is_alone(at, kinds) and not group[0].text.startswith("•") else kinds[at],
            lines=tuple(group),
        )
        for at, group in enumerate(groups)
    ]


def _is_alone(at: int, kinds: Sequence[BlockKind]) -> bool:
    """One item makes no list: its number may be anything."""
    return kinds[at] == "list" and "list" not in (*kinds[max(at - 1, 0) : at], *kinds[at + 1 : at + 2])


def _kind(line: Line) -> BlockKind:
    if line.row is not None:
        return "table"
    if line.mono:
        return "code"
    return "list" if _ITEM.match(line.text) else "paragraph"


def _usual_steps(lines: Sequence[Line]) -> dict[int, float]:
    """For each page the usual distance of lines, in type sizes: one of the smaller, for paragraphs stand apart."""
    steps: defaultdict[int, list[float]] = defaultdict(list)
    for above, line in pairwise(lines):
        if (above.page, above.region) == (line.page, line.region) and above.y - line.y > 0.8 * line.size:
            steps[line.page].append((above.y - line.y) / line.size)
    usual = {page: sorted(found)[int(0.3 * len(found))] for page, found in steps.items()}
    return defaultdict(lambda: 1.2, usual)


def _opens(group: Sequence[Line], line: Line, usual: float) -> bool:
    """Whether a paragraph begins with this line."""
    above = group[-1]
    if above.page != line.page or above.mono != line.mono or above.row is not None or line.row is not None:
        return above.page != line.page or above.mono != line.mono or not line.row
    if line.mono:
        return above.region != line.region
    if abs(above.size - line.size) > 0.08 * above.size or above.bold != line.bold or _ITEM.match(line.text):
        return True
    ends = bool(_SENTENCE_END.search(above.text))
    step = above.y - line.y
    if above.region != line.region or step < -0.5 * line.size:
        return ends or not line.text[0].islower()
    return step > WIDE_GAP * usual * line.size or _is_indented(group, line, ends) or (ends and _had_room(above, line))


def _is_indented(group: Sequence[Line], line: Line, ends: bool) -> bool:
    """Indented where that opens a paragraph, or back at the margin after lines that were."""
    above = group[-1]
    by = (line.x0 - above.x0) / line.size
    centred = abs(line.x0 + line.x1 - above.x0 - above.x1) < line.size
    if abs(by) < 0.7 or abs(by) > 4 or centred:
        return False
    if by < 0 and _ITEM.match(group[0].text) and line.x0 < group[0].x0 - 0.7 * line.size:
        return True
    if by < 0:
        return len(group) > 1 and group[0].x0 < above.x0 - 0.7 * line.size
    hangs = _ITEM.match(group[0].text) or (not ends and not _had_room(above, line))
    return not hangs


def _had_room(above: Line, line: Line) -> bool:
    """Whether the first word of `line` would have fitted into the line above: then that was a last one."""
    word = line.text.partition(" ")[0]
    return above.x1 + (0.6 * len(word) + 1) * line.size < above.right
