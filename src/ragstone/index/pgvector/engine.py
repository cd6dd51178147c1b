"""The index in PostgreSQL, as the rest of Ragstone sees it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
from psycopg.sql import Identifier, Literal

from ragstone.catalog.appending import Move
from ragstone.catalog.connections import Connection, conninfo
from ragstone.errors import IndexFailure
from ragstone.index.base import Health
from ragstone.index.filters import Filter
from ragstone.index.pgvector import graphs, rows, searching, writing
from ragstone.index.pgvector.connections import Connections
from ragstone.index.pgvector.faults import index_errors
from ragstone.index.pgvector.statements import composed, statement
from ragstone.models import Entry, Hit, Replacement, Scope

logger = logging.getLogger(__name__)

EF = 100
BUILD_FROM = 10_000
"""Points from which on a scope has a graph: fewer are scanned in a few milliseconds."""

UPKEEP = 15.0  # seconds between looks at the graphs
SCANNED_AT_ONCE = 1_000
DROPPED_AT_ONCE = 500  # documents
FIRST_LOOK, LAST_LOOK = 0.01, 0.25  # seconds between looks at the position, while it is waited for


class PgvectorIndex:
    """An Index in a database that has pgvector, and a catalog's `attached`. Belongs to one event loop."""

    def __init__(self, connections: Connections, *, ef: int, build_from: int) -> None:
        self._connections = connections
        self._ef = ef
        self._build_from = build_from
        self._upkeep: asyncio.Task[None] | None = None

    @classmethod
    def open(
        cls, url: str, *, ef: int | None = None, pool_size: int = 4, build_from: int = BUILD_FROM
    ) -> PgvectorIndex:
        """An index at a URL of PostgreSQL. It connects, and makes its tables, at the first call.

        Raises CatalogError when it is no URL.
        """
        return cls(Connections(conninfo(url), pool_size), ef=ef or EF, build_from=build_from)

    # --- where it stands ------------------------------------------------------------------------------------

    async def source(self) -> str:
        return str(await self._value("source"))

    async def position(self) -> int:
        self._keep_up()
        return int(await self._value("position"))

    async def scopes(self) -> list[Scope]:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(statement("scopes"), binary=True)
            return [Scope(tenant=t, generation=g, fingerprint=f) for t, g, f in await cursor.fetchall()]

    async def health(self) -> Health:
        async with self._connections.reading() as connection:
            parameters = {"build_from": self._build_from, "widest": graphs.WIDEST}
            cursor = await connection.execute(statement("health"), parameters)
            row = await cursor.fetchone()
        assert row is not None
        version, server, read_only, position, points, unbuilt, built, removed, size = row
        return Health(
            engine="pgvector",
            version=f"{version} (PostgreSQL {server})",
            state="read_only" if read_only else "building" if unbuilt else "ready",
            position=position,
            points=points,
            unbuilt=unbuilt,
            details={"graphs": built, "removed since the graphs were built": removed, "bytes": size},
        )

    async def wait(self, position: int, timeout: float) -> bool:
        deadline, pause = time.monotonic() + timeout, FIRST_LOOK
        while await self.position() < position:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            await asyncio.sleep(min(pause, remaining))
            pause = min(pause * 1.5, LAST_LOOK)
        return True

    # --- searching ------------------------------------------------------------------------------------------

    async def search(
        self,
        scope: Scope,
        *,
        vector: npt.NDArray[np.float32] | None,
        text: str | None,
        limit: int,
        where: Filter | None = None,
        ef: int | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        if limit < 1:
            return []
        async with self._connections.reading() as connection:
            place = await searching.find(connection, scope)
            if place is None:
                return []
            broad = None if exact or not place.graph else ef or self._ef
            search = searching.Search(connection, place, where, limit=limit, ef=broad)
            return await search.hits(vector, text)

    async def count(self, scope: Scope, where: Filter | None = None) -> int:
        async with self._connections.reading() as connection:
            place = await searching.find(connection, scope)
            return 0 if place is None else await searching.Search(connection, place, where).count()

    async def scan(self, scope: Scope) -> AsyncIterator[Sequence[Entry]]:
        after: UUID | None = None
        while batch := await self._scanned(scope, after):
            yield batch
            after = batch[-1].chunk_id

    async def _scanned(self, scope: Scope, after: UUID | None) -> list[Entry]:
        async with self._connections.reading() as connection:
            place = await searching.find(connection, scope)
            if place is None:
                return []
            parameters = {"after": after, "limit": SCANNED_AT_ONCE}
            scan = composed("scan", scope=Literal(place.number))
            cursor = await connection.execute(scan, parameters, binary=True)
            return [Entry(chunk_id=c, document_id=d, hash=h) for c, d, h in await cursor.fetchall()]

    # --- writing --------------------------------------------------------------------------------------------

    async def reset(self, source: str) -> None:
        async with self._connections.writing() as connection:
            await connection.execute(statement("stop_maintaining"))
            await connection.execute(statement("write_alone"))
            cursor = await connection.execute(statement("graphs"))
            for name, _ in await cursor.fetchall():
                await connection.execute(composed("drop_graph_now", graph=Identifier(name)))
            await connection.execute(statement("reset"))
            await connection.execute(statement("reset_state"), {"source": source})

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        documents = await asyncio.to_thread(rows.prepare, replacements)
        async with self._connections.writing() as connection:
            await connection.execute(statement("write_alone"))
            cursor = await connection.execute(statement("position"))
            row = await cursor.fetchone()
            if row is not None and row[0] > position:
                return  # all of it is there, or something newer
            await writing.count(connection, await writing.write(connection, documents))
            await connection.execute(statement("move"), {"position": position})
        self._keep_up()

    async def write(self, connection: Connection, replacements: Sequence[Replacement]) -> Move:
        """Write documents in the transaction of a catalog that publishes them. See Attached."""
        await self._connections.ready()
        documents = await asyncio.to_thread(rows.prepare, replacements)
        with index_errors():
            await connection.execute(statement("write_with_others"))
            changes = await writing.write(connection, documents)

        async def move(source: str, before: int, after: int) -> None:
            parameters = {"source": source, "before": before, "after": after}
            async with connection.pipeline():
                await writing.count(connection, changes)
                await connection.execute(statement("move_along"), parameters)

        self._keep_up()
        return move

    async def drop(self, scope: Scope) -> None:
        async with self._connections.reading() as connection:
            place = await searching.find(connection, scope)
        if place is None:
            return
        async with self._connections.alone() as connection:
            if place.points >= self._build_from:
                await connection.execute(statement("stop_maintaining"))
            await connection.execute(composed("drop_graph", graph=Identifier(f"graph_{place.number}")))
        while await self._drop_some(scope, place.number):
            pass

    async def _drop_some(self, scope: Scope, number: int) -> bool:
        """Drop some of the documents; False once there is none, and the scope is gone."""
        async with self._connections.writing() as connection:
            await connection.execute(statement("write_alone"))
            some = composed("some_documents", scope=Literal(number))
            cursor = await connection.execute(some, {"limit": DROPPED_AT_ONCE})
            gone = [rows.gone(scope, document) for (document,) in await cursor.fetchall()]
            if gone:
                await writing.count(connection, await writing.write(connection, gone))
            else:
                await connection.execute(composed("forget_scope", scope=Literal(number)))
        return bool(gone)

    # --- upkeep ---------------------------------------------------------------------------------------------

    async def maintain(self) -> None:
        """Build, rebuild and drop graphs as need be: minutes, in which searches and writes go on.

        A process that follows or writes does so by itself every now and then, for scopes that are not being filled.
        """
        await self._connections.ready()
        async with self._connections.alone() as connection:
            await graphs.maintain(connection, self._build_from)

    def _keep_up(self) -> None:
        if self._upkeep is None or self._upkeep.done():
            self._upkeep = asyncio.create_task(self._maintain_forever(), name="pgvector-upkeep")

    async def _maintain_forever(self) -> None:
        sizes: dict[int, int] = {}
        while True:
            await asyncio.sleep(UPKEEP)
            try:
                await self._connections.ready()
                async with self._connections.alone() as connection:
                    sizes = await graphs.maintain(connection, self._build_from, sizes)
            except IndexFailure as error:
                logger.warning("the graphs of the index are not kept up (%s); next try in %.0f s", error, UPKEEP)

    async def aclose(self) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            with suppress(asyncio.CancelledError):
                await self._upkeep
        await self._connections.aclose()

    async def _value(self, name: str) -> Any:
        async with self._connections.reading() as connection:
            cursor = await connection.execute(statement(name))
            row = await cursor.fetchone()
        assert row is not None
        return row[0]
