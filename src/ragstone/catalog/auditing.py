"""What indexes should hold, of every tenant: for telling where one has gone astray, and for mending it by the log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor, AsyncServerCursor
from psycopg.types.json import Jsonb

from ragstone.catalog.connections import Connection, Connections, Parameters
from ragstone.catalog.faults import catalog_errors
from ragstone.catalog.reading import Row
from ragstone.catalog.statements import statement
from ragstone.models import Entry, Scope

_BATCH = 5_000  # points that travel together


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What the catalog holds of a generation that is kept up to date."""

    scope: Scope
    collection: str
    serving: bool
    documents: int
    chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAudit:
    """When an index was last audited, and how many points it then had wrong, by kind."""

    at: datetime
    found: Mapping[str, int]


class Auditing:
    """The catalog as the measure of an index. Raises CatalogUnavailable and CatalogError as the catalog does."""

    def __init__(self, url: str, connections: Connections) -> None:
        self._url = url
        self._connections = connections

    async def scopes(self) -> list[Scope]:
        """Every scope that an index may hold points of."""
        return [_scope(row) for row in await self._connections.run_as_owner("held_scopes", {})]

    async def holdings(self) -> list[Holding]:
        """Every generation that is kept up to date, with its size, for which all chunks are counted."""
        return [
            Holding(
                scope=_scope(row[:3]), collection=row[3], serving=bool(row[4]), documents=row[5], chunks=int(row[6])
            )
            for row in await self._connections.run_as_owner("holdings", {})
        ]

    @asynccontextmanager
    async def expected(self, scope: Scope) -> AsyncIterator[AsyncIterator[Sequence[Entry]]]:
        """All points that a scope should have, in the order of their ids, in batches; as of the moment of entering."""
        with catalog_errors():
            # Not from the pool: it is needed for minutes, and meanwhile for other things.
            async with await AsyncConnection.connect(self._url) as connection:
                await connection.execute(statement("read_all_of_cursors"))
                async with connection.cursor(name="expected") as cursor:
                    await cursor.execute(statement("expected_points"), _parameters(scope), binary=True)
                    yield _batches(cursor)

    async def changed(self, scope: Scope, documents: Collection[UUID], after: int) -> set[UUID]:
        """Those of the documents that have changed in a scope since a position."""
        parameters = {**_parameters(scope), "documents": list(documents), "after": after}
        return {document for (document,) in await self._connections.run_as_owner("changed_since", parameters)}

    async def count_changed(self, scope: Scope, after: int) -> int:
        """How many documents have changed in a scope since a position."""
        parameters = {**_parameters(scope), "after": after}
        ((count,),) = await self._connections.run_as_owner("count_changed_since", parameters)
        return int(count)

    async def foreign(self, tenant: str, documents: Collection[UUID]) -> set[UUID]:
        """Those of the documents that belong to another tenant."""
        parameters = {"tenant": tenant, "documents": list(documents)}
        return {document for (document,) in await self._connections.run_as_owner("foreign_documents", parameters)}

    async def uris(self, documents: Collection[UUID]) -> dict[UUID, str]:
        """The URIs of those of the documents that are known, deleted or not."""
        return dict(await self._connections.run_as_owner("uris", {"documents": list(documents)}))

    # --- mending ------------------------------------------------------------------------------------------------

    async def log(self, scope: Scope, documents: Collection[UUID]) -> None:
        """Let every index write the newest state of documents in a scope once more: gone, where there is none."""
        async with self._connections.loading(scope.tenant) as connection:
            await _log(connection, "log_documents", {"documents": list(documents), "generation": scope.generation})

    async def log_everything(self) -> int:
        """Let every index write every document of every generation once more; gives how many there are."""
        async with self._connections.owner() as connection, connection.transaction():
            cursor = await _log(connection, "log_everything", {})
            row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    @asynccontextmanager
    async def unheld(self, scope: Scope) -> AsyncIterator[bool]:
        """Whether the catalog holds nothing of a scope; when it does not, it will not as long as the context lasts."""
        with catalog_errors():
            async with await AsyncConnection.connect(self._url) as connection:
                cursor = await connection.execute(statement("lock_scope"), _parameters(scope))
                row = await cursor.fetchone()
                yield row is None or not row[0]

    # --- the record ---------------------------------------------------------------------------------------------

    async def record(self, index: str, found: Mapping[str, int]) -> None:
        """Remember what an audit of an index has just found."""
        await self._connections.run_as_owner("record_audit", {"index": index, "found": Jsonb(dict(found))})

    async def last(self, index: str) -> LastAudit | None:
        """What the last audit of an index has found; None before the first."""
        rows = await self._connections.run_as_owner("last_audit", {"index": index})
        return LastAudit(at=rows[0][0], found=rows[0][1]) if rows else None


def _scope(row: Row) -> Scope:
    tenant, generation, fingerprint = row
    return Scope(tenant=tenant, generation=generation, fingerprint=fingerprint)


def _parameters(scope: Scope) -> dict[str, object]:
    return {"tenant": scope.tenant, "generation": scope.generation, "fingerprint": scope.fingerprint}


async def _log(connection: Connection, name: str, parameters: Parameters) -> AsyncCursor[Row]:
    """Append to the change log as publishing does: told of, and under its lock."""
    await connection.execute(statement("notify"))
    await connection.execute(statement("lock_change_log"))
    return await connection.execute(statement(name), parameters)


async def _batches(cursor: AsyncServerCursor[Row]) -> AsyncIterator[Sequence[Entry]]:
    while rows := await cursor.fetchmany(_BATCH):
        yield [Entry(chunk_id=chunk, document_id=document, hash=digest) for chunk, document, digest in rows]
