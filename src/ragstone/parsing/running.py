"""Running headers, footers and page numbers: what stands at the edge of page after page is no text of any."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ragstone.parsing.fragments import Fragment, Fragments, rows

EDGE = 2
"""How many rows at the top and at the bottom of a page may be running headers and footers."""

FEWEST = 3
"""On fewer pages nothing is told to be running, page numbers apart."""

_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
_PAGE_NUMBER = re.compile(
    r"(?:(?:page|seite|pagina|página|sida|side|pág|стр|p|s)\.?\s*)?[-–—|\[(]?\s*(\d{1,4}|[ivxlc]+)\s*[-–—|\])]?"
    r"(?:\s*(?:/|of|von|sur|de|di|van|av|из)\s*\d{1,4})?"
)
_NUMBER_AT_END = re.compile(r"(\d{1,4}|[ivxlc]+)\s.*|.*\s(\d{1,4}|[ivxlc]+)")
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}

_Key: TypeAlias = tuple[str, int]
"""A row's words, numbers apart, and its height in steps of some points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _EdgeRow:
    page: int
    fragments: tuple[Fragment, ...]
    text: str

    @property
    def key(self) -> _Key:
        return _NUMBER.sub("#", self.text), round(self.fragments[0].y / 6)

    @property
    def number(self) -> int | None:
        """How far a bare page number is ahead of the page's place in the file; None for other rows."""
        return self._ahead(_PAGE_NUMBER)

    @property
    def numbered(self) -> tuple[int, int] | None:
        """The same for words with a number before or behind them, with the row's height."""
        ahead = self._ahead(_NUMBER_AT_END)
        return None if ahead is None else (ahead, self.key[1])

    def _ahead(self, pattern: re.Pattern[str]) -> int | None:
        match = pattern.fullmatch(self.text)
        return _value(next(filter(None, match.groups()))) - self.page if match else None


def without_running(pages: Sequence[Fragments], body: float) -> list[Fragments]:
    """The pages without them. `body` is the usual type size: larger words are titles, unless most pages have them."""
    rows_at_edges = [row for number, page in enumerate(pages) for row in _edge_rows(number, page)]
    is_running = _Running(rows_at_edges, len(pages), body)
    dropped = {id(fragment) for row in rows_at_edges if is_running(row) for fragment in row.fragments}
    return [tuple(fragment for fragment in page if id(fragment) not in dropped) for page in pages]


class _Running:
    """Compares the rows at the edges of all pages."""

    def __init__(self, edges: Sequence[_EdgeRow], pages: int, body: float) -> None:
        self._pages, self._body = pages, body
        self._same = Counter(key for key, _ in {(row.key, row.page) for row in edges})
        self._numbers = Counter(row.number for row in edges)
        self._numbered = Counter(row.numbered for row in edges)

    def __call__(self, row: _EdgeRow) -> bool:
        if row.number is not None and self._pages > 1 and (row.number == 1 or self._numbers[row.number] > 1):
            return True
        if row.numbered is not None and self._numbered[row.numbered] >= FEWEST:
            return True
        small = max(fragment.size for fragment in row.fragments) <= 1.1 * self._body
        return self._same[row.key] >= (FEWEST if small else max(FEWEST, self._pages / 2))


def _edge_rows(number: int, page: Fragments) -> Iterator[_EdgeRow]:
    """None on a page that holds little else."""
    found = rows(page)
    if len(found) > 2 * EDGE:
        for row in (*found[:EDGE], *found[-EDGE:]):
            text = " ".join(fragment.text for fragment in row).casefold()
            yield _EdgeRow(page=number, fragments=tuple(row), text=text)


def _value(number: str) -> int:
    if number.isdecimal():
        return int(number)
    digits = [_ROMAN[letter] for letter in number]
    return sum(-digit if digit < max(digits[at:]) else digit for at, digit in enumerate(digits))
