"""The exact index: every score computed in memory; the reference for tests and audits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ragstone.index import lexical
from ragstone.index.progress import Progress
from ragstone.models import Hit, Point, Replacement, Scope

Scores = npt.NDArray[np.float64]


class ExactIndex:
    """Brute force over numpy arrays, one table a scope. Starts empty and at position 0 in every process."""

    def __init__(self) -> None:
        self._documents: dict[Scope, dict[UUID, tuple[Point, ...]]] = {}
        self._tables: dict[Scope, _Table] = {}  # made when first searched, dropped when the scope changes
        self._progress = Progress()
        self._source = ""

    async def position(self) -> int:
        return self._progress.position

    async def source(self) -> str:
        return self._source

    async def reset(self, source: str) -> None:
        self._documents.clear()
        self._tables.clear()
        self._source = source
        await self._progress.move(0)

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        for r in replacements:
            scope = Scope(tenant=r.tenant, generation=r.generation, fingerprint=r.fingerprint)
            documents = self._documents.setdefault(scope, {})
            documents.pop(r.document_id, None)
            if r.points:
                documents[r.document_id] = r.points
            self._tables.pop(scope, None)
        await self._progress.move(position)

    async def search(
        self, scope: Scope, *, vector: npt.NDArray[np.float32] | None, text: str | None, limit: int
    ) -> list[Hit]:
        table = self._table(scope)
        cosine = None if vector is None else table.cosine(vector)
        bm25 = None if text is None else table.bm25(text)
        found: set[int] = set()
        if cosine is not None:
            found.update(_best(cosine, limit))
        if bm25 is not None:
            found.update(row for row in _best(bm25, limit) if bm25[row] > 0)
        return [
            Hit(
                chunk_id=table.ids[row],
                cosine=None if cosine is None else float(cosine[row]),
                bm25=None if bm25 is None else float(bm25[row]),
            )
            for row in found
        ]

    async def count(self, scope: Scope) -> int:
        return sum(len(points) for points in self._documents.get(scope, {}).values())

    async def wait(self, position: int, timeout: float) -> bool:
        return await self._progress.wait(position, timeout)

    async def aclose(self) -> None:
        """Nothing to give back."""

    def _table(self, scope: Scope) -> _Table:
        if scope not in self._documents:
            return _Table.of([])
        if scope not in self._tables:
            points = [point for points in self._documents[scope].values() for point in points]
            self._tables[scope] = _Table.of(points)
        return self._tables[scope]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """The points of one scope: a unit vector and the word weights of each row."""

    ids: list[UUID]
    vectors: Scores
    words: list[dict[int, float]]
    containing: Counter[int]

    @classmethod
    def of(cls, points: Sequence[Point]) -> _Table:
        vectors = np.array([_unit(point.vector) for point in points])
        weights = [lexical.document(point.text) for point in points]
        words = [dict(zip(w.indices, w.values, strict=True)) for w in weights]
        containing = Counter(word for row in words for word in row)
        return cls(ids=[point.chunk_id for point in points], vectors=vectors, words=words, containing=containing)

    def cosine(self, vector: npt.NDArray[np.float32]) -> Scores:
        return self.vectors @ _unit(vector) if self.ids else np.zeros(0)

    def bm25(self, text: str) -> Scores:
        total = len(self.ids)
        idf = {word: lexical.idf(total, self.containing[word]) for word in lexical.query(text).indices}
        return np.array([sum(idf[word] * row.get(word, 0.0) for word in idf) for row in self.words], dtype=np.float64)


def _unit(vector: npt.NDArray[np.float32]) -> Scores:
    wide = vector.astype(np.float64)
    return wide / (np.linalg.norm(wide) or 1.0)


def _best(scores: Scores, limit: int) -> list[int]:
    rows: list[int] = np.argsort(-scores, kind="stable")[: max(limit, 0)].tolist()
    return rows
