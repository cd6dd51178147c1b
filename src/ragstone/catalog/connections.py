"""Connections to PostgreSQL, and transactions on them: for one tenant, or as the owner of everything."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from psycopg import AsyncConnection, ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from ragstone.catalog.faults import catalog_errors
from ragstone.catalog.statements import script, statement
from ragstone.errors import CatalogError

Connection: TypeAlias = AsyncConnection[tuple[Any, ...]]
Parameters: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = list[tuple[Any, ...]]

CONNECT = 10
"""Seconds to wait for a server that does not answer, unless the URL has a connect_timeout."""

RECONNECT = 10.0
"""Seconds to keep trying when the server went away, before CatalogUnavailable is raised."""


def conninfo(url: str) -> str:
    """The URL, with a limit to the time that connecting takes. Raises CatalogError when it is no PostgreSQL URL."""
    try:
        limited = "connect_timeout" in conninfo_to_dict(url)
    except ProgrammingError:
        # The driver's message repeats what was given, with the password in it.
        raise CatalogError(
            "the database's address is not a PostgreSQL URL", hint="write postgresql://user:password@host/name"
        ) from None
    return url if limited else make_conninfo(url, connect_timeout=CONNECT)


class Connections:
    """A pool of at most `size` connections; whoever comes when all are taken waits for a turn."""

    def __init__(self, url: str, size: int) -> None:
        self._turns = asyncio.Semaphore(size)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=size,
            open=False,
            check=still_there,
            timeout=RECONNECT,
            kwargs={"autocommit": True},
            name="catalog",
        )

    async def open(self) -> None:
        await self._pool.open()

    async def aclose(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def owner(self) -> AsyncIterator[Connection]:
        """A connection that sees every tenant, outside of a transaction."""
        with catalog_errors():
            async with self._turns, self._pool.connection() as connection:
                try:
                    yield connection
                except asyncio.CancelledError:
                    # The driver may leave it in the middle of a pipeline; the pool replaces it.
                    await connection.close()
                    raise

    @asynccontextmanager
    async def loading(self, tenant: str) -> AsyncIterator[Connection]:
        """A transaction that sees and writes the rows of this tenant alone, with empty tables to COPY into."""
        async with self.owner() as connection, connection.transaction():
            await connection.execute(script("staging.sql"))
            await connection.execute(statement("become_tenant"), {"tenant": tenant})
            yield connection

    async def run(self, tenant: str, names: tuple[str, ...], parameters: Parameters) -> Rows:
        """The rows of the last of these statements, run for a tenant in one transaction and one round trip."""
        values = {"tenant": tenant, **parameters}
        async with self.owner() as connection:
            async with connection.pipeline(), connection.transaction():
                for name in ("become_tenant", *names):
                    cursor = await connection.execute(statement(name), values, binary=True)
            return await cursor.fetchall() if cursor.description else []

    async def run_as_owner(self, name: str, parameters: Parameters) -> Rows:
        """The rows of one statement that sees every tenant."""
        async with self.owner() as connection:
            cursor = await connection.execute(statement(name), parameters, binary=True)
            return await cursor.fetchall() if cursor.description else []


async def still_there(connection: Connection) -> None:
    """Notice a server that went away. An idle connection has nothing to say, so the round trip is seldom made."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)
