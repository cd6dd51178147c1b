"""One search, statement by statement, in a transaction that sees one moment."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
from psycopg.sql import SQL, Composable, Composed, Literal

from ragstone.catalog.connections import Connection
from ragstone.index.filters import Filter
from ragstone.index.pgvector.filtering import Condition
from ragstone.index.pgvector.questions import Question, question
from ragstone.index.pgvector.rows import unit
from ragstone.index.pgvector.statements import composed, statement
from ragstone.index.pgvector.writing import wrong_dimensions
from ragstone.models import Hit, Scope

WALK = 4.0
"""What it costs to come to a point by walking the graph, where computing the cosine of a given one costs 1."""

WALKED = 50_000
"""Points that a walk comes to before it goes no further; should it have found too few, all cosines are computed."""

_BROADEST = 1_000  # ef that pgvector takes

Vector = npt.NDArray[np.float32]
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the rows of a scope are, and whether its graph can be walked."""

    number: int
    dimensions: int
    points: int
    graph: bool


async def find(connection: Connection, scope: Scope) -> Place | None:
    """Take on the tenant's role for the rest of the transaction, and look the scope up."""
    parameters = {"tenant": scope.tenant, "generation": scope.generation, "fingerprint": scope.fingerprint}
    await connection.execute(statement("become_tenant"), parameters)
    cursor = await connection.execute(statement("scope"), parameters)
    row = await cursor.fetchone()
    return None if row is None else Place(number=row[0], dimensions=row[1], points=row[2], graph=row[3])


class Search:
    """A search of one scope within a filter, for `limit` points of each kind.

    `ef` is the breadth of a walk through its graph; without, all cosines are computed, as they are where there are few.
    """

    def __init__(
        self, connection: Connection, place: Place, where: Filter | None, *, limit: int = 0, ef: int | None = None
    ) -> None:
        self._connection = connection
        self._place = place
        self._condition = None if where is None else Condition(where, place.number)
        self._parts = _parts(place, self._condition)
        self._limit = limit
        self._ef = ef
        self._breadth = max(ef or 0, limit)
        self._few: bool | None = None

    async def count(self) -> int:
        """How many points the filter lets through."""
        if self._condition is None:
            return self._place.points
        ((count,),) = await self._run("count", {})
        return int(count)

    async def hits(self, vector: Vector | None, text: str | None) -> list[Hit]:
        """See Index.search. The nearest, the best by words, and of each the scores of the other."""
        if vector is not None and vector.shape != (self._place.dimensions,):
            raise wrong_dimensions(vector.size, self._place.dimensions)
        asked = None if vector is None else _literal(unit(vector))
        rows = [] if asked is None else await self._near(asked)
        near = {row[0] for row in rows}
        bm25 = {} if text is None else await self._best(text, near)
        if rest := bm25.keys() - near:
            name = "chunks" if asked is None else "cosines"
            rows += await self._run(name, {"vector": asked, "numbers": list(rest)})
        return [_hit(row, bm25, asked is not None, text is not None) for row in rows]

    # --- near -----------------------------------------------------------------------------------------------

    async def _near(self, vector: str) -> Rows:
        """The nearest: number, chunk, cosine. A walk that comes to too few is done without the graph."""
        if self._ef is not None and not await self._are_few():
            rows = await self._walk(vector)
            if rows is not None:
                return rows[: self._limit]
        return await self._run("near_exactly", {"vector": vector, "limit": self._limit})

    async def _walk(self, vector: str) -> Rows | None:
        """With a filter as many points are wanted that it lets through as a walk without one looks at."""
        wanted = self._limit if self._condition is None else self._breadth
        settings = {"ef": str(min(self._breadth, _BROADEST)), "most": str(WALKED)}
        await self._connection.execute(statement("prefer_graph"), settings)
        rows = await self._run("near_by_graph", {"vector": vector, "limit": wanted})
        return rows if len(rows) == wanted else None

    async def _are_few(self) -> bool:
        """Whether computing all cosines within the filter costs less than a walk.

        A walk comes to n points that the filter lets through after n · all / those.
        """
        if self._few is None:
            few = int(math.sqrt(WALK * self._breadth * self._place.points))
            points = self._place.points
            if self._condition is not None:
                ((points,),) = await self._run("probe", {"most": few + 1})
            self._few = points <= few
        return self._few

    # --- best -----------------------------------------------------------------------------------------------

    async def _best(self, text: str, near: Collection[int]) -> dict[int, float]:
        """BM25 by number: of the best, and of the near as far as they have one of the words."""
        words = question(text)
        counts: dict[int, int] = dict(await self._run("containing", {"words": words})) if words else {}
        if not counts:
            return {}
        asked = Question.of(counts, self._place.points)
        scores: dict[int, float] = dict(await self._among_rare(asked) or await self._scored("scored", asked.parameters))
        if rest := near - scores.keys():
            scores |= dict(await self._run("scores", {**asked.parameters, "points": list(rest)}))
        return scores

    async def _among_rare(self, asked: Question) -> Rows | None:
        """The best, found by rare words alone where no point can be among them that has only frequent ones."""
        if not asked.frequent:
            return None
        rows = await self._scored("scored", asked.rare_parameters)
        least = min(score for _, score in rows) if len(rows) == self._limit else 0.0
        if least <= asked.bound:
            return None
        return await self._scored("scored_among", {**asked.rare_parameters, "least": least - asked.bound})

    async def _scored(self, name: str, parameters: dict[str, Any]) -> Rows:
        scored, best = self._composed(name), self._composed(await self._kind_of_best())
        return await self._run("best", {**parameters, "limit": self._limit}, scoring=scored, best=best)

    async def _kind_of_best(self) -> str:
        if self._condition is None:
            return "best_of_everything"
        return "best_of_few" if await self._are_few() else "best_of_many"

    # --- statements -----------------------------------------------------------------------------------------

    async def _run(self, name: str, parameters: dict[str, Any], **parts: Composable) -> Rows:
        """A plan that was made for other values of a filter is not taken for these."""
        condition = self._condition
        values = parameters if condition is None else {**parameters, **condition.parameters}
        prepare = None if condition is None else False
        query = composed(name, **self._parts, **parts)
        cursor = await self._connection.execute(query, values, prepare=prepare, binary=True)
        return await cursor.fetchall()

    def _composed(self, name: str) -> Composed:
        return composed(name, **self._parts)


def _parts(place: Place, condition: Condition | None) -> dict[str, Composable]:
    """What statements are composed of."""
    scope, where = Literal(place.number), SQL("true") if condition is None else condition.sql
    parts = {"scope": scope, "dimensions": Literal(place.dimensions), "where": where}
    parts["inside"] = SQL("true") if condition is None else composed("inside", where=where)
    parts["points"] = composed("all_points" if condition is None else "filtered_points", scope=scope, where=where)
    return parts | {"scored": composed("scored", scope=scope)}


def _literal(vector: Vector) -> str:
    return f"[{','.join(map(str, vector.tolist()))}]"


def _hit(row: tuple[int, UUID, float | None], bm25: dict[int, float], dense: bool, lexically: bool) -> Hit:
    number, chunk, cosine = row
    return Hit(chunk_id=chunk, cosine=cosine if dense else None, bm25=bm25.get(number, 0.0) if lexically else None)
