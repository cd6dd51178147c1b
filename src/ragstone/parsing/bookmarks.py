"""The outline's entries → the lines that they lead to."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from ragstone.parsing.lines import Line

LONGEST = 4
"""A title takes no more lines than these."""

_NOT_WORD = re.compile(r"\W+")
_LABEL = re.compile(r"\s*(?:(?:chapter|section|part)\s+)?(?:\d+|[ivxlc]+)(?:\.\d+)*[.:)]?\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """An entry of the outline; `page` counts from 0, `level` from 1; `y` is the height it leads to, if known."""

    level: int
    title: str
    page: int
    y: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A bookmark begins at line `first`; lines `first` to `last` (excluded) are its title, or none are."""

    bookmark: Bookmark
    first: int
    last: int


def places(lines: Sequence[Line], bookmarks: Sequence[Bookmark]) -> list[Place]:
    """Where each leads to, by line: its title's words on its page, or else the height, or else the page's beginning."""
    pages = [line.page for line in lines]
    found: dict[int, Place] = {}
    for mark in bookmarks:
        start, end = bisect_left(pages, mark.page), bisect_left(pages, mark.page + 1)
        place = _by_words(lines, range(start, end), mark, found) or _by_height(lines, range(start, end), mark)
        if place.first < len(lines):
            found.setdefault(place.first, place)
    return [found[first] for first in sorted(found)]


def _by_words(lines: Sequence[Line], on_page: range, mark: Bookmark, taken: dict[int, Place]) -> Place | None:
    """The first lines with the same words, a number in front allowed."""
    wanted = _words(mark.title)
    for first in on_page:
        if first in taken or not wanted.startswith(_words(lines[first].text) or "\n"):
            continue
        for last in range(first + 1, min(first + LONGEST, on_page.stop) + 1):
            words = _words(" ".join(line.text for line in lines[first:last]))
            if words == wanted:
                return Place(bookmark=mark, first=first, last=last)
    return None


def _by_height(lines: Sequence[Line], on_page: range, mark: Bookmark) -> Place:
    below = (at for at in on_page if mark.y is not None and lines[at].y <= mark.y and lines[at].row in (None, 0))
    first = next(below, on_page.start)
    return Place(bookmark=mark, first=first, last=first)


def _words(text: str) -> str:
    return _NOT_WORD.sub("", _LABEL.sub("", text, count=1)).casefold()
