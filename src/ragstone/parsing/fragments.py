"""A page of PDFium → fragments: words of one line that stand close together, with their place and type."""

from __future__ import annotations

import ctypes
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import TypeAlias

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from ragstone.parsing.decoding import clean

HYPHEN = "\u2010"
"""Ends a fragment whose last word goes on in the next line: PDFium tells such hyphens from others."""

HYPHENS = ("-", "\u00ad", HYPHEN)
"""What a line that ends in a divided word may end in."""

WIDE = 0.8
"""A gap of this many type sizes parts two fragments: no justified line has such spaces, every gutter is wider."""

ITEM = re.compile(r"[•◦▪▫●○■□‣⁃∙·➢➤✓*–—-]|\(?(?:\d{1,2}|[a-z])\)|\[\d{1,3}\]|\d{1,2}\.|[a-z]\.")
"""What an item of a list begins with."""

_NUMBERED = re.compile(r"\d{1,2}(?:\.\d{1,2})+\.?")
_WORD = re.compile(r"[^\s\ufffe]+\ufffe?")
_BOLD = re.compile(r"bold|black|heavy|demi|[^a-z](?:bd|medi)(?![a-z])|(?:cm|sf|lm|ec|ts1?-?)b(?:x|sr)|cmssbx", re.I)
_MONO = re.compile(r"mono|courier|consol|menlo|typewriter|cmtt|cmsltt|sftt|nimbusmon|code(?![a-z])|fixed", re.I)
_RTL = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LEADERS = re.compile(r"\s*(?:[._·…]\s?){5,}")
_FIXED_PITCH, _FORCE_BOLD = 1 << 0, 1 << 18
_BULLETS = str.maketrans(dict.fromkeys("\uf0b7\uf0a7\uf0d8\uf0fc\uf076\uf06e\uf0a8", "•"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """Words between `x0` and `x1` on the baseline `y` (points, upwards), as a reader holds the page."""

    text: str
    x0: float
    x1: float
    y: float
    size: float
    bold: bool
    mono: bool


Fragments: TypeAlias = tuple[Fragment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`fragments` in the order of the file; `aside` is text that stands across it, such as a stamp in the margin.

    `picture` says that there is no text, but a picture.
    """

    fragments: Fragments = ()
    aside: Fragments = ()
    picture: bool = False

    @property
    def all(self) -> Fragments:
        return self.fragments + self.aside


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    text: str
    x0: float
    x1: float
    low: float
    index: int


def fragments(page: pdfium.PdfTextPage) -> Page:
    """All text of the page. Pages written from right to left are mirrored, so that reading goes on rightwards."""
    reader = _Reader(page)
    by_turn: dict[int, list[Fragment]] = {}
    for line in _lines(reader.text):
        turn, found = reader.line(line)
        by_turn.setdefault(turn, []).extend(found)
    main = max(by_turn, key=lambda turn: _letters(by_turn[turn]), default=0)
    aside = [fragment for turn, found in by_turn.items() if turn != main for fragment in found]
    return Page(fragments=tuple(_mirrored(_with_raised(by_turn.get(main, [])))), aside=tuple(aside))


def _with_raised(found: Iterable[Fragment]) -> list[Fragment]:
    """What touches the fragment before it, such as a footnote's mark, belongs to it."""
    kept: list[Fragment] = []
    for fragment in found:
        before = kept[-1] if kept else fragment
        size = max(before.size, fragment.size)
        if kept and abs(fragment.x0 - before.x1) < 0.2 * size and 0 < abs(fragment.y - before.y) < 0.5 * size:
            main = max(before, fragment, key=lambda part: len(part.text))
            kept[-1] = replace(main, text=f"{before.text} {fragment.text}", x0=before.x0, x1=fragment.x1)
        else:
            kept.append(fragment)
    return kept


def _letters(found: Iterable[Fragment]) -> int:
    return sum(len(fragment.text) for fragment in found)


def _is_mark(word: str) -> bool:
    return bool(ITEM.fullmatch(word.translate(_BULLETS)) or _NUMBERED.fullmatch(word))


def _mirrored(found: Sequence[Fragment]) -> Iterable[Fragment]:
    leftwards = sum(len(_RTL.findall(fragment.text)) for fragment in found)
    if 2 * leftwards <= sum(character.isalpha() for fragment in found for character in fragment.text):
        return found
    return [replace(fragment, x0=-fragment.x1, x1=-fragment.x0) for fragment in found]


def _lines(text: str) -> Iterator[list[re.Match[str]]]:
    """The words of each of PDFium's lines; one that ends in a divided word ends there."""
    words: list[re.Match[str]] = []
    after = 0
    for match in _WORD.finditer(text):
        if words and ("\n" in text[after : match.start()] or words[-1][0].endswith("\ufffe")):
            yield words
            words = []
        words.append(match)
        after = match.end()
    if words:
        yield words


class _Reader:
    """Asks PDFium where the characters of a page stand, with as few calls as will do."""

    def __init__(self, page: pdfium.PdfTextPage) -> None:
        self._raw = page.raw
        self.text = page.get_text_range()
        wide = any(character > "\uffff" for character in self.text) if not self.text.isascii() else False
        self._units = [0, *accumulate(1 + (c > "\uffff") for c in self.text)] if wide else range(len(self.text) + 1)
        self._skips = raw.FPDFText_CountChars(page.raw) != self._units[-1]
        self._box, self._matrix = raw.FS_RECTF(), raw.FS_MATRIX()
        self._x, self._y = ctypes.c_double(), ctypes.c_double()
        self._name, self._flags = ctypes.create_string_buffer(128), ctypes.c_int()

    def line(self, words: Sequence[re.Match[str]]) -> tuple[int, list[Fragment]]:
        """The quarter turns that the line is written at, and its fragments as seen at that turn."""
        first = self._index(words[0].start())
        turn = -round(raw.FPDFText_GetCharAngle(self._raw, first) / (math.pi / 2)) % 4
        size = self._size(first)
        found: list[Fragment] = []
        group: list[_Word] = []
        for word in (self._word(match, turn) for match in words):
            if group and self._apart(group, word, size):
                found += self._fragment(group, turn)
                group, size = [], self._size(word.index)
            group.append(word)
        return turn, [*found, *self._fragment(group, turn)]

    def _apart(self, group: Sequence[_Word], word: _Word, size: float) -> bool:
        before = group[-1]
        gap = max(word.x0 - before.x1, before.x0 - word.x1)
        if gap <= WIDE * size:
            return abs(word.low - before.low) > size
        return len(group) > 1 or gap > 4 * size or not _is_mark(before.text)

    def _word(self, match: re.Match[str], turn: int) -> _Word:
        first, last = self._index(match.start()), self._index(match.end() - 1 - match[0].endswith("\ufffe"))
        x0, x1, low = self._seen(first, turn)
        if last != first:
            left, right, _ = self._seen(last, turn)
            x0, x1 = min(x0, left), max(x1, right)
        return _Word(text=match[0], x0=x0, x1=x1, low=low, index=first)

    def _seen(self, index: int, turn: int) -> tuple[float, float, float]:
        """Left, right and bottom of a character."""
        box = self._box
        raw.FPDFText_GetLooseCharBox(self._raw, index, box)
        if turn == 0:
            return box.left, box.right, box.bottom
        if turn == 1:
            return box.bottom, box.top, -box.right
        return (-box.right, -box.left, -box.top) if turn == 2 else (-box.top, -box.bottom, box.left)

    def _fragment(self, words: Sequence[_Word], turn: int) -> Iterator[Fragment]:
        """One fragment; none when its characters are all refused by the catalog. Its longest word gives its type."""
        text = " ".join(clean(" ".join(word.text for word in words)).replace("\ufffe", HYPHEN).split())
        longest = max(words, key=lambda word: len(word.text)).index
        (bold, mono), (also_bold, also_mono) = self._type(words[0].index), self._type(words[-1].index)
        if text:
            yield Fragment(
                text=_LEADERS.sub(" … ", text.translate(_BULLETS)).strip(),
                x0=min(word.x0 for word in words),
                x1=max(word.x1 for word in words),
                y=self._baseline(longest, turn),
                size=self._size(longest),
                bold=bold and also_bold,
                mono=mono and also_mono,
            )

    def _baseline(self, index: int, turn: int) -> float:
        raw.FPDFText_GetCharOrigin(self._raw, index, self._x, self._y)
        return (self._y.value, -self._x.value, -self._y.value, self._x.value)[turn]

    def _size(self, index: int) -> float:
        """The type size in points as it is drawn, never 0: every distance is compared to it."""
        size: float = raw.FPDFText_GetFontSize(self._raw, index)
        if raw.FPDFText_GetMatrix(self._raw, index, self._matrix):
            size *= math.hypot(self._matrix.c, self._matrix.d)
        return min(max(size, 1.0), 1000.0)

    def _type(self, index: int) -> tuple[bool, bool]:
        raw.FPDFText_GetFontInfo(self._raw, index, self._name, len(self._name), self._flags)
        return _style(self._name.value, self._flags.value)

    def _index(self, at: int) -> int:
        """PDFium counts its characters, some of which have no text, apart from the UTF-16 units of its text."""
        unit = self._units[at]
        return raw.FPDFText_GetCharIndexFromTextIndex(self._raw, unit) if self._skips else unit


@lru_cache(maxsize=1024)
def _style(font: bytes, flags: int) -> tuple[bool, bool]:
    """Whether a font is bold, and whether all its characters are equally wide."""
    name = font.decode("latin-1").rpartition("+")[2]
    bold = bool(flags & _FORCE_BOLD) or bool(_BOLD.search(name))
    return bold, bool(flags & _FIXED_PITCH) or bool(_MONO.search(name))


def rows(fragments: Iterable[Fragment]) -> list[list[Fragment]]:
    """Fragments that share a baseline, rows from top to bottom, each from left to right."""
    found: list[list[Fragment]] = []
    for fragment in sorted(fragments, key=lambda fragment: -fragment.y):
        if found and found[-1][0].y - fragment.y < 0.4 * fragment.size:
            found[-1].append(fragment)
        else:
            found.append([fragment])
    for row in found:
        row.sort(key=lambda fragment: fragment.x0)
    return found


def body_size(pages: Iterable[Page]) -> float:
    """The type size that most characters have, to a half point."""
    seen: Counter[float] = Counter()
    for page in pages:
        for fragment in page.fragments:
            seen[round(2 * fragment.size) / 2] += len(fragment.text)
    return seen.most_common(1)[0][0] if seen else 1.0
