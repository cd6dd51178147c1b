"""One search of one scope: at most three round trips, two where the collection has one shard."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt
from qdrant_client import models as q

from ragstone.index import lexical
from ragstone.index.filters import Filter
from ragstone.index.qdrant.conditions import among, inside, within
from ragstone.index.qdrant.rarity import weighed
from ragstone.index.qdrant.server import QUICK, SLOW
from ragstone.index.qdrant.space import DENSE, SPARSE, Space
from ragstone.models import Hit

Scores = dict[UUID, float]
Vector = npt.NDArray[np.float32]

SCALAR_OVERSAMPLING, BINARY_OVERSAMPLING = 2.0, 4.0
"""Candidates per wanted hit that are rescored with the whole vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is asked of a space; see Index.search."""

    space: Space
    scope: str
    limit: int
    where: Filter | None
    ef: int
    exact: bool

    async def hits(self, vector: Vector | None, text: str | None) -> list[Hit]:
        """Both searches at once; then, of what only one of them found, the other's scores."""
        words = None if text is None else await self._words(text)
        cosine, bm25 = await self._ask(
            None if vector is None else self._nearest(vector, None), None if words is None else self._best(words, None)
        )
        by_words, by_vector = bm25.keys() - cosine.keys(), cosine.keys() - bm25.keys()
        more_cosine, more_bm25 = await self._ask(
            None if vector is None or not by_words else self._nearest(vector, by_words),
            None if words is None or not by_vector else self._best(words, by_vector),
        )
        cosine |= more_cosine
        bm25 |= more_bm25
        # Without a cosine by now, a point was deleted in between.
        found = bm25.keys() if vector is None else cosine.keys()
        return [
            Hit(
                chunk_id=chunk_id,
                cosine=None if vector is None else cosine[chunk_id],
                bm25=None if text is None else bm25.get(chunk_id, 0.0),
            )
            for chunk_id in found
        ]

    async def _words(self, text: str) -> q.SparseVector | None:
        """The words of a question as the collection wants them weighed; None when there are none."""
        words = lexical.query(text)
        if not words.indices:
            return None
        if self.space.tallied:
            return await weighed(self.space.client, self.space.name, self.scope, words)
        return q.SparseVector(indices=words.indices, values=words.values)

    def _nearest(self, vector: Vector, ids: Collection[UUID] | None) -> q.QueryRequest:
        """The nearest by cosine, or the cosines of given points."""
        exact = self.exact or ids is not None
        rescored = q.QuantizationSearchParams(
            rescore=True, oversampling=BINARY_OVERSAMPLING if self.space.binary else SCALAR_OVERSAMPLING
        )
        return q.QueryRequest(
            query=vector.tolist(),
            using=DENSE,
            filter=self._filter(ids),
            limit=self.limit if ids is None else len(ids),
            params=q.SearchParams(
                exact=exact,
                hnsw_ef=self.ef,
                quantization=q.QuantizationSearchParams(ignore=True) if exact else rescored,
                # A graph that is filtered by more than its scope falls apart without it.
                acorn=None if self.where is None else q.AcornSearchParams(enable=True),
            ),
        )

    def _best(self, words: q.SparseVector, ids: Collection[UUID] | None) -> q.QueryRequest:
        """The best by BM25, or those of given points that have one of the words."""
        rarity = None if self.space.tallied else q.IdfCorpusParams(corpus=inside(self.scope))
        return q.QueryRequest(
            query=words,
            using=SPARSE,
            filter=self._filter(ids),
            limit=self.limit if ids is None else len(ids),
            params=q.SearchParams(idf=rarity),
        )

    def _filter(self, ids: Collection[UUID] | None) -> q.Filter:
        """Given points have passed the filter already."""
        if ids is not None:
            return q.Filter(must=[within(self.scope), among(ids)])
        return inside(self.scope, self.where)

    async def _ask(self, dense: q.QueryRequest | None, words: q.QueryRequest | None) -> tuple[Scores, Scores]:
        requests = [request for request in (dense, words) if request is not None]
        if not requests:
            return {}, {}
        timeout = SLOW if self.exact else QUICK
        answers = iter(await self.space.client.query_batch_points(self.space.name, requests, timeout=timeout))
        return ({} if dense is None else _scores(next(answers)), {} if words is None else _scores(next(answers)))


def _scores(answer: q.QueryResponse) -> Scores:
    return {UUID(str(point.id)): point.score for point in answer.points}
