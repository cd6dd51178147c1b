"""The lines of pages → one text with paragraphs, headings and page starts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import TypeAlias

from ragstone.models import Block, BlockKind
from ragstone.parsing.outline import Heading

WIDE_GAP = 1.4
"""A gap of this many usual line distances separates paragraphs."""

EDGE = 2
"""How many lines at the top and at the bottom of a page may be running headers and footers."""

_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
_NOT_WORD = re.compile(r"\W+")
_LABEL = re.compile(r"\s*(?:(?:chapter|section|part)\s+)?(?:\d+|[ivxlc]+)(?:\.\d+)*[.:)]?\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line's words, where on the page its first character stands (y grows upwards), and its type size in points.

    `last_y` is the height of its last character: a line with a divided word in it ends lower than it began.
    """

    text: str
    x: float
    y: float
    last_y: float
    size: float


Page: TypeAlias = tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """An entry of the outline; `page` counts from 0, `level` from 1."""

    level: int
    title: str
    page: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A text and its structure; `title` is the largest line of the first page, if one stands out."""

    title: str
    text: str
    blocks: tuple[Block, ...]
    headings: tuple[Heading, ...]
    page_starts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A line in the text: `text[start:end]`. `opens` says that a paragraph begins with it."""

    text: str
    page: int
    opens: bool
    start: int
    end: int


def layout(pages: Sequence[Page], bookmarks: Sequence[Bookmark]) -> Layout:
    """Lines stay lines; paragraphs stand apart by a blank line."""
    body = _without_running_lines(pages)
    lines, page_starts = _write(body)
    headings = _headings(lines, page_starts, bookmarks)
    at = {line.start: line.text for line in lines}
    titles = {heading.start for heading in headings if _is_title(at.get(heading.start, ""), heading.title)}
    return Layout(
        title=_largest(body[0]),
        text=_text(lines),
        blocks=tuple(_blocks(lines, titles)),
        headings=tuple(headings),
        page_starts=page_starts,
    )


def _without_running_lines(pages: Sequence[Page]) -> list[Page]:
    """What stands at the edge of at least half of the pages, page numbers apart, is no text of theirs."""
    edges = [_edge_lines(page) for page in pages]
    seen = Counter(text for edge in edges for text in {_unnumbered(line) for line in edge})
    running = {text for text, pages_with_it in seen.items() if pages_with_it >= max(3, len(pages) / 2)}
    if len(pages) > 1:
        running.add("#")
    return [
        tuple(line for line in page if line not in edge or _unnumbered(line) not in running)
        for page, edge in zip(pages, edges, strict=True)
    ]


def _edge_lines(page: Page) -> set[Line]:
    """The lines that may be headers and footers: none on a page that holds little else."""
    by_height = sorted(page, key=lambda line: line.y)
    return {*by_height[:EDGE], *by_height[-EDGE:]} if len(page) > 2 * EDGE else set()


def _unnumbered(line: Line) -> str:
    return _NUMBER.sub("#", line.text.casefold())


def _write(pages: Sequence[Page]) -> tuple[list[_Written], tuple[int, ...]]:
    lines: list[_Written] = []
    page_starts: list[int] = []
    for number, page in enumerate(pages):
        at = lines[-1].end + 2 if lines else 0
        page_starts.append(at)
        for line, opens in _paragraphed(page):
            start = lines[-1].end + (2 if opens else 1) if lines else 0
            end = start + len(line.text)
            lines.append(_Written(text=line.text, page=number, opens=opens, start=start, end=end))
    length = lines[-1].end if lines else 0
    return lines, tuple(min(start, length) for start in page_starts)


def _text(lines: Sequence[_Written]) -> str:
    """The text that the lines' offsets are meant for."""
    return "".join(("\n\n" if line.opens else "\n") + line.text for line in lines).lstrip("\n")


def _paragraphed(page: Page) -> Iterator[tuple[Line, bool]]:
    """Lines with whether a paragraph begins there; pieces of one line joined."""
    gaps = [above.last_y - below.y for above, below in pairwise(page) if above.last_y > below.y]
    usual = median(gaps) if gaps else 0.0
    before: Line | None = None
    opens = True
    for line in page:
        if before is None:
            before = line
        elif _same_line(before, line):
            before = replace(before, text=f"{before.text} {line.text}", last_y=line.last_y)
        else:
            yield before, opens
            before, opens = line, _opens_paragraph(before, line, usual)
    if before is not None:
        yield before, opens


def _same_line(left: Line, right: Line) -> bool:
    return abs(left.last_y - right.y) < 0.5 * left.size and right.x > left.x


def _opens_paragraph(above: Line, line: Line, usual: float) -> bool:
    gap = above.last_y - line.y
    other_size = abs(above.size - line.size) > 0.08 * above.size
    indented = 0.7 * line.size < line.x - above.x < 4 * line.size
    return other_size or gap > WIDE_GAP * usual or (gap > 0 and indented)


def _headings(lines: Sequence[_Written], page_starts: Sequence[int], bookmarks: Sequence[Bookmark]) -> list[Heading]:
    """A bookmark's section begins at the line with its words, or else with its page."""
    by_page: dict[int, list[_Written]] = {}
    for line in lines:
        by_page.setdefault(line.page, []).append(line)
    found: dict[int, Heading] = {}
    for mark in bookmarks:
        places = (line.start for line in by_page.get(mark.page, ()) if _is_title(line.text, mark.title))
        start = next((place for place in places if place not in found), page_starts[mark.page])
        found.setdefault(start, Heading(level=mark.level, title=mark.title, start=start))
    length = lines[-1].end if lines else 0
    return [found[start] for start in sorted(found) if start < length]


def _is_title(line: str, title: str) -> bool:
    """The same words, a number in front allowed; a long title may go on in the next line."""
    words, wanted = (_NOT_WORD.sub("", _LABEL.sub("", text, count=1)).casefold() for text in (line, title))
    return bool(words) and (words == wanted or (len(words) > 12 and wanted.startswith(words)))


def _blocks(lines: Sequence[_Written], titles: set[int]) -> Iterator[Block]:
    """Paragraphs, and each title line as a heading of its own."""
    group: list[_Written] = []
    for line in lines:
        if group and (line.opens or line.start in titles or group[0].start in titles):
            yield _block(group, titles)
            group = []
        group.append(line)
    if group:
        yield _block(group, titles)


def _block(group: Sequence[_Written], titles: set[int]) -> Block:
    kind: BlockKind = "heading" if group[0].start in titles else "paragraph"
    return Block(kind=kind, start=group[0].start, end=group[-1].end)


def _largest(page: Page) -> str:
    sizes = [line.size for line in page for _ in line.text]
    if not sizes or max(sizes) < 1.2 * median(sizes):
        return ""
    return next(line.text for line in page if line.size == max(sizes))
