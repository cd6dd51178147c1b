"""One search of a scope: by meaning, by words, and each one's score of what the other found."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from weaviate.collections.classes.filters import FilterReturn

from ragstone.index.weaviate.points import Points, Vector
from ragstone.models import Hit


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    points: Points
    limit: int
    where: FilterReturn | None
    breadth: int | None  # of the graph search; None: every cosine is computed

    async def by_vector(self, vector: Vector) -> list[Hit]:
        near = await self._near(vector)
        return [Hit(chunk_id=chunk, cosine=cosine, bm25=None) for chunk, cosine in near.items()]

    async def by_text(self, text: str) -> list[Hit]:
        _, best = await self._best(text)
        return [Hit(chunk_id=chunk, cosine=None, bm25=bm25) for chunk, bm25 in best.items()]

    async def by_both(self, vector: Vector, text: str) -> list[Hit]:
        near, (rarity, best) = await asyncio.gather(self._near(vector), self._best(text))
        cosines, bm25 = await asyncio.gather(
            self.points.cosines([chunk for chunk in best if chunk not in near], vector),
            self.points.bm25([chunk for chunk in near if chunk not in best] if rarity else [], rarity),
        )
        cosines, bm25 = {**near, **cosines}, {**best, **bm25}
        if not rarity:
            bm25 = dict.fromkeys(near, 0.0)
        # What was deleted between two questions has one score only, and is left out.
        return [Hit(chunk_id=c, cosine=cosines[c], bm25=bm25[c]) for c in cosines.keys() & bm25.keys()]

    async def _near(self, vector: Vector) -> dict[UUID, float]:
        if self.breadth is None:
            return await self.points.nearest_of_all(vector, self.limit, self.where)
        return await self.points.nearest(vector, self.limit, self.where, breadth=self.breadth)

    async def _best(self, text: str) -> tuple[dict[int, float], dict[UUID, float]]:
        rarity = await self.points.rarity(text)
        return rarity, await self.points.best(rarity, self.limit, self.where)
