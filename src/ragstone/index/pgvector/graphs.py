"""The graphs (HNSW) of large scopes: built, rebuilt and dropped beside searches and writes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import errors
from psycopg.sql import Identifier, Literal

from ragstone.catalog.connections import Connection
from ragstone.index.pgvector.statements import composed, statement

logger = logging.getLogger(__name__)

WIDEST = 4_000
"""Dimensions of a vector in half precision that pgvector builds graphs of."""

CHURN, LEAST_CHURN = 0.02, 2_000
"""A share of a scope's points that, once they were removed, cost a vacuum as much as building the graph anew."""

GROWING = 0.05
"""A scope that has grown by more than this share since the last look is being filled: its graph comes after that."""

_SMALLEST, _LARGEST = 64, 2_048  # MiB that a build may take
_EDGES = 800  # bytes of a point besides its vector while it is built


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A scope as the upkeep of its graph sees it."""

    number: int
    dimensions: int
    points: int
    removed: int

    @property
    def graph(self) -> str:
        return f"graph_{self.number}"

    @property
    def churned(self) -> bool:
        return self.removed >= max(LEAST_CHURN, CHURN * self.points)

    def grows(self, former: Mapping[int, int]) -> bool:
        return self.points > (1 + GROWING) * former.get(self.number, 0)

    @property
    def memory(self) -> str:
        needed = self.points * (2 * self.dimensions + _EDGES) >> 20
        return f"{min(max(needed, _SMALLEST), _LARGEST)}MB"


async def maintain(connection: Connection, build_from: int, former: Mapping[int, int] | None = None) -> dict[int, int]:
    """Make the graphs what they should be, unless another process is at it. Gives the points of each scope.

    `former` is what the last call gave: a scope that has grown since is left alone. What a crash left half built is
    dropped.
    """
    cursor = await connection.execute(statement("maintain_alone"))
    row = await cursor.fetchone()
    sizes = await _sizes(connection)
    if row is not None and row[0]:
        valid = await _sweep(connection, sizes, build_from)
        large = [size for size in sizes if size.points >= build_from and size.dimensions <= WIDEST]
        settled = [size for size in large if former is None or not size.grows(former)]
        await _build(connection, [size for size in settled if size.graph not in valid])
        for size in sizes:
            if size.graph in valid and size.churned:
                await _make(connection, size, "rebuild")
    return {size.number: size.points for size in sizes}


async def _sizes(connection: Connection) -> list[Size]:
    cursor = await connection.execute(statement("sizes"))
    return [Size(number=n, dimensions=d, points=p, removed=r) for n, d, p, r in await cursor.fetchall()]


async def _sweep(connection: Connection, sizes: Sequence[Size], build_from: int) -> set[str]:
    """Drop graphs that cannot be used, or that are of scopes grown small; gives the names of those that stay."""
    wanted = {size.graph for size in sizes if size.points >= build_from // 2}
    cursor = await connection.execute(statement("graphs"))
    graphs: dict[str, bool] = dict(await cursor.fetchall())
    valid = {name for name, is_valid in graphs.items() if is_valid and name in wanted}
    for name in graphs.keys() - valid:
        await connection.execute(composed("drop_graph", graph=Identifier(name)))
    return valid


async def _build(connection: Connection, missing: Sequence[Size]) -> None:
    if missing:
        await connection.execute(statement("analyze"))
        await connection.execute(statement("analyze_points"))
    for size in missing:
        await _make(connection, size, "build")


async def _make(connection: Connection, size: Size, name: str) -> None:
    """Build or rebuild, with helpers if there is shared memory for them."""
    logger.info("%s %s: %d points", name, size.graph, size.points)
    try:
        await _make_with(connection, size, name, workers="2")
    except (errors.DiskFull, errors.OutOfMemory):
        await connection.execute(composed("drop_graph", graph=Identifier(f"{size.graph}_ccnew")))
        if name == "build":
            await connection.execute(composed("drop_graph", graph=Identifier(size.graph)))
        await _make_with(connection, size, name, workers="0")
    parameters = {"removed": size.removed}
    await connection.execute(composed("built", scope=Literal(size.number)), parameters)


async def _make_with(connection: Connection, size: Size, name: str, *, workers: str) -> None:
    await connection.execute(statement("build_with"), {"memory": size.memory, "workers": workers})
    await connection.execute(
        composed(
            name,
            graph=Identifier(size.graph),
            scope=Literal(size.number),
            dimensions=Literal(size.dimensions),
        )
    )
