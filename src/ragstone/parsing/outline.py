"""Headings → the tree of sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragstone.models import Section

LONGEST_TITLE = 300
"""Characters; more is somebody's text, and would be kept again with everything below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """Where a section begins. `level` counts from 1; levels may be left out."""

    level: int
    title: str
    start: int


def sections(text: str, headings: Sequence[Heading]) -> tuple[Section, ...]:
    """The sections that these headings (in text order) begin; text before the first is one of level 0."""
    first = headings[0].start if headings else len(text)
    before = [Heading(level=0, title="", start=0)] if text[:first].strip() or not headings else []
    ends = _ends([*before, *headings], len(text))
    found: list[Section] = []
    open_sections: list[Section] = []
    for heading, end in zip([*before, *headings], ends, strict=True):
        while open_sections and open_sections[-1].level >= heading.level:
            open_sections.pop()
        parent = open_sections[-1] if open_sections else None
        path = () if heading.level == 0 else (*(parent.path if parent else ()), shortened(heading.title))
        found.append(
            Section(
                ordinal=len(found),
                parent=parent.ordinal if parent else None,
                level=heading.level,
                path=path,
                start=heading.start,
                end=end,
            )
        )
        if heading.level > 0:
            open_sections.append(found[-1])
    return tuple(found)


def shortened(title: str) -> str:
    """A title, cut off where it is far too long for one."""
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 2].rstrip() + " …"


def first_title(text: str, headings: Sequence[Heading]) -> str:
    """The first heading of level 1, or else the one that the text opens with, or nothing."""
    for heading in headings:
        if heading.level == 1:
            return heading.title
    opens = headings and not text[: headings[0].start].strip()
    return headings[0].title if opens else ""


def _ends(headings: Sequence[Heading], length: int) -> list[int]:
    """Where each section ends: at the next heading of its own level or above, found from the back."""
    ends: list[int] = []
    later: list[Heading] = []
    for heading in reversed(headings):
        while later and later[-1].level > heading.level > 0:
            later.pop()
        ends.append(later[-1].start if later else length)
        later.append(heading)
    return ends[::-1]
