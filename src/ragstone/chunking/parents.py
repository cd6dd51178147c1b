"""Parents: what a prompt gets in a chunk's place. Small chunks are found more exactly, larger texts answer better."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Literal, TypeAlias

from ragstone.chunking.base import Chunker
from ragstone.chunking.draft import Draft, Measure
from ragstone.chunking.pieces import sentences
from ragstone.models import Chunk, Document
from ragstone.tokens import TokenCounter

Run: TypeAlias = tuple[int, int]
"""Words from the first up to, without, the last."""


class WithParents:
    """The chunks of any strategy, each with a parent: a stretch of the document that holds it.

    - `section`: the largest section around the chunk that has at most `max_tokens`; when even the innermost has more,
      a window within it. The document as a whole counts as a section.
    - `window`: the sentences and blocks around the chunk, as many on either side, up to `max_tokens`.

    A parent is larger than `max_tokens` only when its chunk is.
    """

    def __init__(
        self, chunker: Chunker, kind: Literal["section", "window"], count: TokenCounter, max_tokens: int
    ) -> None:
        self._chunker = chunker
        self._kind = kind
        self._measure = Measure(count, max_tokens, prefix=False)

    def chunk(self, document: Document) -> list[Chunk]:
        """The wrapped chunker's chunks, changed in nothing else."""
        surroundings = _Surroundings(Draft(document, self._measure))
        find = surroundings.section if self._kind == "section" else surroundings.window
        return [replace(chunk, parent=find(chunk)) for chunk in self._chunker.chunk(document)]


class _Surroundings:
    """A document as the surroundings of its chunks."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._words = draft.words
        self._max_tokens = draft.measure.max_tokens
        pieces = sentences(draft)
        after_text = (piece.first for before, piece in pairwise(pieces) if before.kind != "heading")
        self._edges = [0, *after_text, len(draft.words)]  # where a window may begin and end

    def section(self, chunk: Chunk) -> tuple[int, int]:
        run = self._run(chunk.start, chunk.end)
        around = list(self._sections(chunk))
        fitting = [outer for outer in around if self._words.size(*outer) <= self._max_tokens]
        return self._span(*(fitting[-1] if fitting else self._window(run, around[0])))

    def window(self, chunk: Chunk) -> tuple[int, int]:
        return self._span(*self._window(self._run(chunk.start, chunk.end), (0, len(self._words))))

    def _sections(self, chunk: Chunk) -> Iterator[Run]:
        """Those that hold the chunk, from the innermost to the whole document."""
        sections = self._draft.document.sections
        ordinal: int | None = chunk.section
        while ordinal is not None:
            section = sections[ordinal]
            if section.start <= chunk.start and chunk.end <= section.end:
                yield self._run(section.start, section.end)
            ordinal = section.parent
        yield 0, len(self._words)

    def _window(self, run: Run, outer: Run) -> Run:
        """The run grown within the outer one: first by half of the room before it, then after, then before."""
        first, last = run
        spare = max(0, self._max_tokens - self._words.size(first, last))
        first = self._earliest(first, last, outer[0], self._max_tokens - spare // 2)
        last = self._latest(first, last, outer[1])
        return self._earliest(first, last, outer[0], self._max_tokens), last

    def _earliest(self, first: int, last: int, bound: int, room: int) -> int:
        """The first edge, not before the bound, from which a run to `last` has room."""
        if self._words.size(bound, last) <= room:
            return bound
        low, high = bisect_right(self._edges, bound), bisect_left(self._edges, first)
        edge = bisect_left(self._edges, True, low, max(low, high), key=lambda e: self._words.size(e, last) <= room)
        return self._edges[edge] if edge < high else first

    def _latest(self, first: int, last: int, bound: int) -> int:
        """The last edge, not after the bound, up to which a run from `first` has room."""
        if self._words.size(first, bound) <= self._max_tokens:
            return bound
        low, high = bisect_right(self._edges, last), bisect_left(self._edges, bound)
        over = bisect_right(
            self._edges, self._max_tokens, low, max(low, high), key=lambda e: self._words.size(first, e)
        )
        return self._edges[over - 1] if over > low else last

    def _run(self, start: int, end: int) -> Run:
        """The words that hold a stretch of the text, which may begin and end within words."""
        return max(0, self._words.at(start + 1) - 1), self._words.at(end)

    def _span(self, first: int, last: int) -> tuple[int, int]:
        """The words and the blanks after them: parents of which one follows the other touch."""
        end = self._words.starts[last] if last < len(self._words) else len(self._words.text)
        return self._words.starts[first], end
