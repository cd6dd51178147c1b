"""This engine's own connections: for searches, each in one snapshot, for writing, and for what takes minutes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, IsolationLevel, errors
from psycopg_pool import AsyncConnectionPool

from ragstone.catalog.connections import RECONNECT, Connection, still_there
from ragstone.index.pgvector.faults import index_errors
from ragstone.index.pgvector.schema import ensure_schema
from ragstone.index.pgvector.statements import statement


class Pool:
    """At most `size` connections; whoever comes when all are taken waits for a turn."""

    def __init__(self, url: str, size: int, configure: Callable[[Connection], Awaitable[None]]) -> None:
        self._turns = asyncio.Semaphore(size)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=0,
            max_size=size,
            open=False,
            configure=configure,
            check=still_there,
            timeout=RECONNECT,
            kwargs={"autocommit": True},
            name="index",
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with self._turns:
            await self._pool.open()  # unless it is
            async with self._pool.connection() as connection:
                try:
                    yield connection
                except asyncio.CancelledError:
                    # The driver may leave it in the middle of a pipeline; the pool replaces it.
                    await connection.close()
                    raise

    async def aclose(self) -> None:
        await self._pool.close()


class Connections:
    """Connects when it is first asked, and makes the tables then. Raises as the index does."""

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._reading = Pool(url, size, _as_snapshots)
        self._writing = Pool(url, 1, _settle)
        self._installed = False
        self._installing = asyncio.Lock()

    async def ready(self) -> None:
        """Make the tables, unless that is done."""
        if not self._installed:
            async with self._installing:
                if not self._installed:
                    async with self.alone() as connection:
                        await ensure_schema(connection)
                    self._installed = True

    async def aclose(self) -> None:
        await self._reading.aclose()
        await self._writing.aclose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A transaction that sees all as of one moment, its statements sent together as far as can be."""
        async with self._borrowed(self._reading) as connection, connection.pipeline(), connection.transaction():
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A transaction; one at a time."""
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
        await self.ready()
        with index_errors():
            try:
                async with pool.connection() as connection:
                    yield connection
            except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName):
                self._installed = False
                raise


async def _settle(connection: Connection) -> None:
    await connection.execute(statement("settle_session"))


async def _as_snapshots(connection: Connection) -> None:
    await _settle(connection)
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
