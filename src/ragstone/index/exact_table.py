"""The points of one scope in numpy arrays, with every cosine and BM25 score computed anew for each search."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ragstone.index import lexical
from ragstone.index.filters import Filter, matcher
from ragstone.index.terms import Terms, terms
from ragstone.models import Entry, Hit, Point, Replacement

Vector: TypeAlias = npt.NDArray[np.float32]
Scores: TypeAlias = npt.NDArray[np.float64]
Rows: TypeAlias = npt.NDArray[np.intp]
Flags: TypeAlias = npt.NDArray[np.bool_]

LEFT_OVER = 1000  # rows of replaced points that are never worth a compaction
MASKS = 32  # filters whose outcome is kept
FEW = 8  # cosines of fewer than one in so many rows are computed one by one


class Table:
    """Rows are only appended; those of replaced documents stay, not live, until they are the larger part."""

    def __init__(self, dimensions: int) -> None:
        self._vectors = np.zeros((0, dimensions), np.float32)  # unit length; has room for more rows than are used
        self._live: Flags = np.zeros(0, np.bool_)
        self._writes = np.zeros(0, np.intp)  # which of `_terms` is the row's
        self._entries: list[Entry] = []
        self._terms: list[Terms] = []  # of each write of a document
        self._documents: dict[UUID, slice] = {}  # the live rows of each
        self._words: dict[int, tuple[array[int], array[float]]] = {}  # rows with a word, live or not, and its weights
        self._masks: dict[str, Flags] = {}  # which of the first so many `_terms` a filter lets through
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, replacement: Replacement) -> None:
        """From now on these points stand for the document."""
        document, points = replacement.document_id, replacement.points
        stored = terms(replacement.fields)
        self._remove(document)
        if points:
            self._documents[document] = self._append(document, points)
            self._terms.append(stored)
        if len(self._entries) > 2 * self._size + LEFT_OVER:
            self._compact()

    def entries(self) -> list[Entry]:
        """All points by their ids."""
        return sorted((self._entries[row] for row in self.rows(None)), key=lambda entry: entry.chunk_id)

    def rows(self, where: Filter | None) -> Rows:
        """The live rows that a filter lets through."""
        used = len(self._entries)
        live = self._live[:used]
        return np.flatnonzero(live if where is None else live & self._mask(where)[self._writes[:used]])

    def search(self, vector: Vector | None, text: str | None, limit: int, where: Filter | None) -> list[Hit]:
        rows = self.rows(where)
        cosine = None if vector is None else self._cosine(vector, rows)
        bm25 = None if text is None else self._bm25(text, rows)
        found = np.zeros(0, np.intp)
        if cosine is not None:
            found = _best(cosine, limit)
        if bm25 is not None:
            positive = np.flatnonzero(bm25 > 0)
            found = np.union1d(found, positive[_best(bm25[positive], limit)])
        return [
            Hit(
                chunk_id=self._entries[rows[i]].chunk_id,
                cosine=None if cosine is None else float(cosine[i]),
                bm25=None if bm25 is None else float(bm25[i]),
            )
            for i in found
        ]

    def _cosine(self, vector: Vector, rows: Rows) -> npt.NDArray[np.float32]:
        used = len(self._entries)
        if len(rows) * FEW < used:
            return self._vectors[rows] @ _unit(vector)
        return (self._vectors[:used] @ _unit(vector))[rows]

    def _bm25(self, text: str, rows: Rows) -> Scores:
        scores = np.zeros(len(self._entries))
        for word in lexical.query(text).indices:
            if word in self._words:
                having, weights = self._postings(word)
                containing = int(np.count_nonzero(self._live[having]))
                scores[having] += lexical.idf(self._size, containing) * weights
        return scores[rows]

    def _postings(self, word: int) -> tuple[npt.NDArray[np.intc], npt.NDArray[np.float32]]:
        rows, weights = self._words[word]
        return np.frombuffer(rows, np.intc), np.frombuffer(weights, np.float32)

    def _mask(self, where: Filter) -> Flags:
        """What the filter says of each of `_terms`; asked once for each, for they do not change."""
        key = repr(where)  # filters on 1 and true are equal, but not the same
        known = self._masks.pop(key, np.zeros(0, np.bool_))
        rest = [*map(matcher(where), self._terms[len(known) :])]
        self._masks[key] = mask = np.concatenate([known, np.array(rest, np.bool_)])
        if len(self._masks) > MASKS:
            del self._masks[next(iter(self._masks))]
        return mask

    def _append(self, document: UUID, points: Sequence[Point]) -> slice:
        start = len(self._entries)
        rows = slice(start, start + len(points))
        self._make_room(rows.stop)
        self._vectors[rows] = [_unit(point.vector) for point in points]
        self._live[rows] = True
        self._writes[rows] = len(self._terms)
        for row, point in enumerate(points, start):
            self._entries.append(Entry(chunk_id=point.chunk_id, document_id=document, hash=point.hash))
            weights = lexical.document(point.text)
            for word, weight in zip(weights.indices, weights.values, strict=True):
                having = self._words.setdefault(word, (array("i"), array("f")))
                having[0].append(row)
                having[1].append(weight)
        self._size += len(points)
        return rows

    def _make_room(self, rows: int) -> None:
        if rows > len(self._live):
            room = max(2 * len(self._live), rows)
            self._vectors = _grown(self._vectors, room)
            self._live = _grown(self._live, room)
            self._writes = _grown(self._writes, room)

    def _remove(self, document: UUID) -> None:
        rows = self._documents.pop(document, None)
        if rows is not None:
            self._live[rows] = False
            self._size -= rows.stop - rows.start

    def _compact(self) -> None:
        """Let go of the rows that are not live."""
        live = self._live[: len(self._entries)]
        kept = np.flatnonzero(live)
        places = np.cumsum(live) - 1  # where each kept row goes
        self._vectors, self._live = self._vectors[kept], live[kept]
        writes, self._writes = np.unique(self._writes[kept], return_inverse=True)
        self._terms = [self._terms[write] for write in writes]
        self._entries = [self._entries[row] for row in kept]
        self._documents = {
            document: slice(int(places[rows.start]), int(places[rows.stop - 1]) + 1)
            for document, rows in self._documents.items()
        }
        words = {word: self._postings(word) for word in self._words}
        self._words = {
            word: (array("i", places[rows[live[rows]]].tolist()), array("f", weights[live[rows]].tolist()))
            for word, (rows, weights) in words.items()
            if live[rows].any()
        }
        self._masks.clear()


def _grown(values: npt.NDArray[Any], room: int) -> npt.NDArray[Any]:
    grown = np.zeros((room, *values.shape[1:]), values.dtype)
    grown[: len(values)] = values
    return grown


def _unit(vector: Vector) -> Vector:
    wide = vector.astype(np.float64)
    unit: Vector = (wide / (np.linalg.norm(wide) or 1.0)).astype(np.float32)
    return unit


def _best(scores: npt.NDArray[Any], limit: int) -> Rows:
    """The places of the highest, in no order."""
    if limit >= len(scores):
        return np.arange(len(scores))
    best: Rows = np.argpartition(-scores, max(limit, 0))[: max(limit, 0)]
    return best
