"""Cuts where the meaning changes: between sentences whose surroundings have little in common."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ragstone.chunking.base import Embed
from ragstone.chunking.draft import Draft, Measure
from ragstone.chunking.packing import Packing
from ragstone.chunking.pieces import Piece, sentences
from ragstone.models import Chunk, Document, Vectors
from ragstone.tokens import TokenCounter

WINDOW = 3
"""Sentences on either side of a gap that are compared: one alone says too little."""

SMALL = 4
"""No stretch is cut into parts smaller than one of this many parts of a chunk."""

Drops = npt.NDArray[np.float64]


class Semantic:
    """Each chunk is a stretch of sentences about one thing, as far as the limit allows.

    For each gap between two sentences, the mean vector of the sentences before it is compared with that of the
    sentences after it (the blocks of Hearst, TextTiling, Computational Linguistics 23, 1997). The document is cut at
    gaps whose cosine distance is above a percentile of all its gaps (Kamradt, 5 Levels of Text Splitting, 2023), the
    widest first; a stretch that is larger than a chunk is cut further, again at its widest gap.
    """

    def __init__(
        self, count: TokenCounter, max_tokens: int, overlap: float, prefix: bool, percentile: float, embed: Embed
    ) -> None:
        self._measure = Measure(count, max_tokens, prefix=prefix)
        self._overlap = int(overlap * max_tokens)
        self._percentile = percentile
        self._embed = embed

    def chunk(self, document: Document) -> list[Chunk]:
        """The document's sentences are embedded in one call. Raises what `embed` raises."""
        draft = Draft(document, self._measure)
        pieces = sentences(draft)
        breaks = self._breaks(draft, pieces) if len(pieces) > 1 else set()
        return list(Packing(draft, pieces, self._overlap, breaks).chunks())

    def _breaks(self, draft: Draft, pieces: Sequence[Piece]) -> set[int]:
        """The words at which a new stretch begins."""
        gaps = drops(self._embed([self._short(draft, piece) for piece in pieces]))
        gaps[[piece.kind == "heading" for piece in pieces[:-1]]] = -1.0  # a heading stays with its text
        stretches = _Stretches(draft, pieces, gaps, self._percentile)
        return {pieces[cut].first for cut in stretches.cuts()}

    def _short(self, draft: Draft, piece: Piece) -> str:
        """The text of a piece. Its beginning, where the sum of its words said too little for the model's limit."""
        text = draft.document.text[draft.words.starts[piece.first] : draft.words.ends[piece.last - 1]]
        while len(text) > 1 and self._measure.count(text) > self._measure.max_tokens:
            text = text[: len(text) // 2]
        return text


def drops(vectors: Vectors) -> Drops:
    """The cosine distance of the windows on either side of each gap: [n - 1] for the vectors of n sentences.

    It is rounded: that equal sentences differ in the last digits means nothing.
    """
    gaps, n = np.arange(1, len(vectors)), len(vectors)
    sums = np.vstack([np.zeros(vectors.shape[1]), np.cumsum(vectors, axis=0, dtype=np.float64)])
    before = sums[gaps] - sums[np.maximum(gaps - WINDOW, 0)]
    after = sums[np.minimum(gaps + WINDOW, n)] - sums[gaps]
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines: Drops = np.einsum("nd,nd->n", before, after) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return (1.0 - cosines).round(6)


class _Stretches:
    """A document that is cut in two again and again."""

    def __init__(self, draft: Draft, pieces: Sequence[Piece], gaps: Drops, percentile: float) -> None:
        self._draft = draft
        self._pieces = pieces
        self._gaps = gaps  # gap i lies before piece i + 1; a negative one must not be cut
        self._small = draft.measure.max_tokens // SMALL
        allowed = gaps[gaps >= 0]
        self._wide = np.percentile(allowed, percentile) if len(allowed) else 0.0

    def cuts(self) -> list[int]:
        """The pieces at which a stretch begins, but for the first."""
        found: list[int] = []
        waiting = [(0, len(self._pieces))]
        while waiting:
            begin, end = waiting.pop()
            if cut := self._cut(begin, end):
                found.append(cut)
                waiting += [(begin, cut), (cut, end)]
        return found

    def _cut(self, begin: int, end: int) -> int | None:
        """The piece after the widest gap within a stretch, if it is to be cut at all."""
        first = bisect_left(range(end), self._small, lo=begin + 1, key=lambda cut: self._size(begin, cut))
        last = bisect_left(range(end), True, lo=first, key=lambda cut: self._size(cut, end) < self._small)
        if first >= last:
            return None
        widest = int(np.argmax(self._gaps[first - 1 : last - 1])) + first
        gap = self._gaps[widest - 1]
        too_large = self._size(begin, end) > self._draft.room(self._pieces[begin].first)
        return widest if gap > self._wide or (too_large and gap >= 0) else None

    def _size(self, begin: int, end: int) -> int:
        return self._draft.words.size(self._pieces[begin].first, self._pieces[end - 1].last)
