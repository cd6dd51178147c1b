"""A document being cut: what every strategy needs to know of a place in it, and how a chunk is made."""

from __future__ import annotations

from bisect import bisect_right
from functools import cache, lru_cache

from ragstone.chunking.prefix import prefix
from ragstone.chunking.words import Words
from ragstone.models import Chunk, Document, Section
from ragstone.tokens import TokenCounter

REMEMBERED_WORDS = 2**16


class Measure:
    """How large a chunk may be, and by which counter. One is shared by all documents."""

    def __init__(self, count: TokenCounter, max_tokens: int, *, prefix: bool) -> None:
        self.count = count
        self.count_word: TokenCounter = lru_cache(maxsize=REMEMBERED_WORDS)(count)
        self.max_tokens = max_tokens
        self.max_prefix = max_tokens // 3 if prefix else 0
        self.widest_word = max(1, (max_tokens - self.max_prefix) // 4)


class Draft:
    """One document, measured."""

    def __init__(self, document: Document, measure: Measure) -> None:
        self.document = document
        self.measure = measure
        self.words = Words(document.text, measure.count_word, measure.widest_word)
        self._section_starts = [section.start for section in document.sections]
        self._headings = {self.words.at(block.start) for block in document.blocks if block.kind == "heading"}
        self._prefix = cache(self._written_prefix)

    def section(self, word: int) -> Section:
        """The innermost section that holds a word: sections are in text order, parents before children."""
        return self.document.sections[max(0, bisect_right(self._section_starts, self.words.starts[word]) - 1)]

    def room(self, word: int) -> int:
        """Tokens that the text of a chunk may have that starts with this word."""
        return self.measure.max_tokens - self._prefix(*self._place(word))[1]

    def narrowest_room(self, section: int) -> int:
        """The room of a chunk that starts anywhere in a section."""
        return self.measure.max_tokens - max(self._prefix(section, own_heading)[1] for own_heading in (False, True))

    def chunk(self, ordinal: int, first: int, last: int) -> Chunk:
        """The words from `first` up to, without, `last` as a chunk, with its exact count of tokens."""
        start, end = self.words.starts[first], self.words.ends[last - 1]
        section, has_own_heading = self._place(first)
        before = self._prefix(section, has_own_heading)[0]
        text = self.document.text[start:end]
        return Chunk(
            ordinal=ordinal,
            section=section,
            start=start,
            end=end,
            text=text,
            prefix=before,
            tokens=self.measure.count(before + text),
            pages=self._pages(start, end),
        )

    def _place(self, word: int) -> tuple[int, bool]:
        section = self.section(word)
        return section.ordinal, word in self._headings and word == self.words.at(section.start)

    def _written_prefix(self, section: int, has_own_heading: bool) -> tuple[str, int]:
        """The prefix and its tokens."""
        if not self.measure.max_prefix:
            return "", 0
        path, count = self.document.sections[section].path, self.measure.count
        written = prefix(self.document.title, path, count, self.measure.max_prefix, has_own_heading=has_own_heading)
        return written, count(written)

    def _pages(self, start: int, end: int) -> tuple[int, int] | None:
        starts = self.document.page_starts
        return (max(1, bisect_right(starts, start)), max(1, bisect_right(starts, end - 1))) if starts else None
