"""What in a passage can be quoted: its sentences, table rows, list items and lines of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from ragstone.chunking.sentences import sentence_spans
from ragstone.models import Passage

Kind = Literal["prose", "item", "row", "header", "code", "heading", "break"]
Piece: TypeAlias = tuple[Kind, int, int]
"""A kind and the offsets of its text, without Markdown markers."""

_FENCE = re.compile(r"\s*(```|~~~)")
_RULE = re.compile(r"[\s|:+=_*-]*$")  # a blank line, a thematic break, an underline, a table's separator row
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+(\S.*?)[\s#]*$")
_UNDERLINE = re.compile(r"\s{0,3}(=+|-+)\s*$")
_ROW = re.compile(r"\s*(?=\||.*\S \| )\|?\s*(\S.*?)[\s|]*$")
_ITEM = re.compile(r"\s*(?:[-*+•‣◦>]|\(?\d{1,3}[.)])\s+(\S.*?)\s*$")
_PROSE = re.compile(r"\s*(\S.*?)\s*$")
_PART = re.compile(r"\S(?:.{0,598}\S)?(?!\S)|\S{1,600}", re.DOTALL)  # what is longer is quoted in parts, cut at blanks


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`passage.text[start:end]`: something that can be quoted."""

    passage: Passage
    start: int
    end: int
    before: str  # the statement before it, when no heading lies between

    @property
    def text(self) -> str:
        return self.passage.text[self.start : self.end]


def statements(passage: Passage) -> list[Statement]:
    """In reading order. Headings, rules and Markdown markers are left out by where a statement starts and ends."""
    found: list[Statement] = []
    before = ""
    for kind, start, end in _parts(passage):
        if kind == "heading":
            before = ""
        elif kind != "header":
            found.append(Statement(passage=passage, start=start, end=end, before=before))
            before = passage.text[start:end]
    return found


def _parts(passage: Passage) -> Iterator[Piece]:
    for kind, start, end in _pieces(passage):
        for part in _PART.finditer(passage.text, start, end):
            yield kind, part.start(), part.end()


def _pieces(passage: Passage) -> Iterator[Piece]:
    """Lines that stand alone as they are, and the sentences of those that run on."""
    start = end = 0  # of the paragraph under way
    for kind, begin, stop in [*_lines(passage), ("break", 0, 0)]:
        if kind == "prose" and end:
            end = stop
            continue
        for a, b in sentence_spans(passage.text[start:end]):
            yield "prose", start + a, start + b
        start, end = (begin, stop) if kind in ("prose", "item") else (0, 0)
        if kind in ("row", "header", "code", "heading"):
            yield kind, begin, stop


def _lines(passage: Passage) -> Iterator[Piece]:
    """The kind of every line, and where its text lies."""
    start, in_code = 0, False
    for line, following in pairwise([*passage.text.splitlines(keepends=True), ""]):
        if _FENCE.match(line):
            in_code = not in_code
            yield "break", start, start
        else:
            kind, text = _kind(line, following, passage.path) if not in_code else _code(line)
            yield (kind, start + text.start(1), start + text.end(1)) if text else ("break", start, start)
        start += len(line)


def _kind(line: str, following: str, path: tuple[str, ...]) -> tuple[Kind, re.Match[str] | None]:
    """What a line outside code is, and the match whose first group is its text."""
    if _RULE.match(line):
        return "break", None
    if heading := _HEADING.match(line):
        return "heading", heading
    if line.strip() in path or _UNDERLINE.match(following):
        return "heading", _PROSE.match(line)
    if row := _ROW.match(line):
        return ("header" if "|" in following and _RULE.match(following) else "row"), row
    if item := _ITEM.match(line):
        return "item", item
    return "prose", _PROSE.match(line)


def _code(line: str) -> tuple[Kind, re.Match[str] | None]:
    return "code", _PROSE.match(line)
