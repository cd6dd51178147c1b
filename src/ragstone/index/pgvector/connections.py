"""This engine's own connections: for searches, each in one snapshot, for writing, and for what takes minutes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, IsolationLevel, errors
from psycopg_pool import AsyncConnectionPool

from ragstone.catalog.connections import RECONNECT, Connection, still_there
from ragstone.index.pgvector.faults import index_errors
from ragstone.index.pgvector.schema import ensure_schema
from ragstone.index.pgvector.statements import statement

Pool = AsyncConnectionPool[Connection]


class Connections:
    """Connects when it is first asked, and makes the tables then. Raises as the index does."""

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._size = size
        self._reading: Pool | None = None
        self._writing: Pool | None = None
        self._installed = False
        self._turn = asyncio.Lock()

    async def ready(self) -> None:
        """Make the tables, unless that is done."""
        if not self._installed:
            async with self._turn:
                if not self._installed:
                    async with self.alone() as connection:
                        await ensure_schema(connection)
                    await self._open()
                    self._installed = True

    async def aclose(self) -> None:
        for pool in (self._reading, self._writing):
            if pool is not None:
                await pool.close()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A transaction that sees all as of one moment, its statements sent together as far as can be."""
        await self.ready()
        assert self._reading is not None
        with index_errors():
            async with self._borrowed(self._reading) as connection, connection.pipeline(), connection.transaction():
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A transaction; one at a time."""
        await self.ready()
        assert self._writing is not None
        with index_errors():
            async with self._borrowed(self._writing) as connection, connection.transaction():
                yield connection

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Connection]:
        """A connection of one's own, outside of a transaction."""
        with index_errors():
            async with await AsyncConnection.connect(self._url, autocommit=True) as connection:
                await connection.execute(statement("settle_session"))
                yield connection

    @asynccontextmanager
    async def _borrowed(self, pool: Pool) -> AsyncIterator[Connection]:
        async with pool.connection() as connection:
            try:
                yield connection
            except asyncio.CancelledError:
                # The driver may leave it in the middle of a pipeline; the pool replaces it.
                await connection.close()
                raise
            except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName):
                self._installed = False
                raise

    async def _open(self) -> None:
        if self._reading is None:
            self._reading, self._writing = self._pool("reading", self._size), self._pool("writing", 1)
            await self._reading.open()
            await self._writing.open()

    def _pool(self, name: str, size: int) -> Pool:
        return AsyncConnectionPool(
            self._url,
            min_size=0,
            max_size=size,
            open=False,
            configure=_as_snapshots if name == "reading" else _settle,
            check=still_there,
            timeout=RECONNECT,
            kwargs={"autocommit": True},
            name=f"index-{name}",
        )


async def _settle(connection: Connection) -> None:
    await connection.execute(statement("settle_session"))


async def _as_snapshots(connection: Connection) -> None:
    await _settle(connection)
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
