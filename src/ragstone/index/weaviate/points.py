"""The points of one scope: one tenant of its space's collection."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import numpy.typing as npt
from weaviate import WeaviateAsyncClient
from weaviate.classes.query import MetadataQuery
from weaviate.collections import CollectionAsync
from weaviate.collections.classes.filters import FilterReturn
from weaviate.exceptions import WeaviateBatchError, WeaviateDeleteManyError

from ragstone.index import lexical
from ragstone.index.weaviate import stems, words
from ragstone.index.weaviate.conditions import BAG, DOCUMENT, both, has_stem, ids, older, one_of
from ragstone.index.weaviate.layout import (
    FLAT_BELOW,
    HASH,
    MOST,
    POSTINGS,
    VECTOR,
    Layout,
    Stored,
    objects,
    tenant_of,
)
from ragstone.models import Entry, Replacement, Scope

SLICE = 128
"""Points in a request: of 3,072 dimensions about 3 MB; a server takes 10."""

PAGE = 1_000  # points in an answer to a scan
AT_A_TIME = 16  # counts
FIRST, WIDEST = 256, 4096  # candidates for BM25

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """A tenant that is there. Its methods raise what the client raises."""

    reads: CollectionAsync[Any, Any]
    writes: CollectionAsync[Any, Any]

    @classmethod
    def of(cls, client: WeaviateAsyncClient, scope: Scope, layout: Layout) -> Points:
        tenant = client.collections.use(layout.space(scope.fingerprint)).with_tenant(tenant_of(scope))
        return cls(
            reads=tenant.with_consistency_level(layout.reads), writes=tenant.with_consistency_level(layout.writes)
        )

    async def count(self, where: FilterReturn | None = None) -> int:
        """Always by a filter: without one, a server may estimate."""
        return (await self.reads.aggregate.over_all(filters=both(where), total_count=True)).total_count or 0

    async def nearest(
        self, vector: Vector, limit: int, where: FilterReturn | None, *, breadth: int
    ) -> dict[UUID, float]:
        """Cosines of the nearest. The graph is searched as widely as results are asked for."""
        found = await self.reads.query.near_vector(
            vector.tolist(),
            limit=min(max(limit, breadth), MOST),
            filters=where,
            return_metadata=MetadataQuery(distance=True),
            return_properties=False,
        )
        return {each.uuid: 1.0 - (each.metadata.distance or 0.0) for each in found.objects[:limit]}

    async def nearest_of_all(self, vector: Vector, limit: int, where: FilterReturn | None) -> dict[UUID, float]:
        """The same with every cosine computed: in parts so small that Weaviate does not take the graph."""
        parts = -(-await self.count(where) // (FLAT_BELOW // 2))
        found: dict[UUID, float] = {}
        for part in words.slices(parts):
            near = await self.nearest(vector, limit, both(where, one_of(part)), breadth=limit)
            found = _best({**found, **near}, limit)
        return found

    async def rarity(self, text: str) -> dict[int, float]:
        """The idf, in this scope, of each word of a question that the scope has."""
        asked = lexical.query(text).indices
        total = await self.count() if asked else 0
        containing: list[int] = []
        for start in range(0, len(asked), AT_A_TIME):
            some = asked[start : start + AT_A_TIME]
            containing += await asyncio.gather(*(self.count(has_stem(stem)) for stem in some))
        return {stem: lexical.idf(total, n) for stem, n in zip(asked, containing, strict=True) if n}

    async def best(self, rarity: Mapping[int, float], limit: int, where: FilterReturn | None) -> dict[UUID, float]:
        """BM25 of the best; see `WeaviateIndex` for what is guaranteed."""
        breadth = min(max(FIRST, 4 * limit), MOST)
        while rarity:
            found = await self.reads.query.bm25(
                " ".join(map(str, rarity)),
                query_properties=[BAG],
                limit=breadth,
                filters=where,
                return_metadata=MetadataQuery(score=True),
                return_properties=[POSTINGS],
            )
            scores = {each.uuid: stems.bm25(each.properties[POSTINGS], rarity) for each in found.objects}
            best = _best(scores, limit)
            if len(found.objects) < breadth or breadth >= WIDEST:
                return best
            if min(best.values()) >= stems.bound(found.objects[-1].metadata.score or 0.0, rarity):
                return best
            breadth = min(4 * breadth, MOST)
        return {}

    async def cosines(self, chunks: Sequence[UUID], vector: Vector) -> dict[UUID, float]:
        unit = _unit(vector)
        read = await self._read(chunks, vectors=True)
        return {each.uuid: float(_unit(each.vector[VECTOR]) @ unit) for each in read}

    async def bm25(self, chunks: Sequence[UUID], rarity: Mapping[int, float]) -> dict[UUID, float]:
        read = await self._read(chunks, vectors=False)
        return {each.uuid: stems.bm25(each.properties[POSTINGS], rarity) for each in read}

    async def entries(self, after: UUID | None) -> list[Entry]:
        """The points next to one in the order of their ids, or the first."""
        found = await self.reads.query.fetch_objects(limit=PAGE, after=after, return_properties=[DOCUMENT, HASH])
        return [
            Entry(
                chunk_id=each.uuid,
                document_id=UUID(each.properties[DOCUMENT]),
                hash=bytes.fromhex(each.properties[HASH]),
            )
            for each in found.objects
        ]

    async def put(self, replacements: Sequence[Replacement]) -> None:
        """Store points, and once all are stored, let go of what else stood for their documents."""
        stamp = uuid4().hex
        for each in replacements:
            stored = await asyncio.to_thread(objects, each, stamp)
            for start in range(0, len(stored), SLICE):
                await self._insert(stored[start : start + SLICE])
        await self._delete(older([each.document_id for each in replacements], stamp))

    async def _insert(self, stored: Sequence[Stored]) -> None:
        done = await self.writes.data.insert_many(stored)
        for error in done.errors.values():
            raise WeaviateBatchError(error.message)

    async def _delete(self, condition: FilterReturn) -> None:
        """A server deletes no more than so many at a time, and tells how many it found."""
        while (done := await self.writes.data.delete_many(condition)).matches:
            if done.failed or not done.successful:
                raise WeaviateDeleteManyError(f"{done.failed} of {done.matches} points were not deleted")

    async def _read(self, chunks: Sequence[UUID], *, vectors: bool) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(chunks), SLICE):
            some = chunks[start : start + SLICE]
            reply = await self.reads.query.fetch_objects(
                filters=ids(some), limit=len(some), include_vector=vectors, return_properties=[POSTINGS]
            )
            found += reply.objects
        return found


def _best(scores: Mapping[UUID, float], limit: int) -> dict[UUID, float]:
    return dict(heapq.nlargest(limit, scores.items(), key=itemgetter(1)))


def _unit(vector: Sequence[float] | Vector) -> npt.NDArray[np.float64]:
    wide = np.asarray(vector, dtype=np.float64)
    return wide / (np.linalg.norm(wide) or 1.0)
