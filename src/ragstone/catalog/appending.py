"""Appending to the change log, and bringing an index in the same database up to date with it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from uuid import UUID

from ragstone.catalog import changelog
from ragstone.catalog.connections import Connection
from ragstone.catalog.statements import statement
from ragstone.errors import IndexFailure
from ragstone.models import Replacement

logger = logging.getLogger(__name__)

Move: TypeAlias = Callable[[str, int, int], Awaitable[None]]
"""Called with the catalog's identity and the head of the change log before and after what was appended."""


class Attached(Protocol):
    """An index in the catalog's own database: a document can be found at the commit that publishes it."""

    async def write(self, connection: Connection, replacements: Sequence[Replacement]) -> Move:
        """Write documents in a transaction, as the user that connected.

        What it gives is awaited under the change log's lock. It moves the index's position from the head before to the
        one after if it stands at the former; otherwise the index lags, and meets the changes in the log once more.
        Raises IndexFailure: then nothing of it stays, and the log brings the changes later.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What happened to a document in one generation."""

    generation: UUID
    document: UUID
    version: UUID | None  # None: it is gone


async def append(
    connection: Connection, tenant: str, collection: UUID, entries: Sequence[Entry], attached: Attached | None
) -> int:
    """The last thing in a tenant's transaction: gives the position, 0 without an entry.

    The log's lock is held until the transaction ends, so an attached index writes its rows before.
    """
    if not entries:
        return 0
    parameters = {
        "tenant": tenant,
        "collection": collection,
        "generations": [entry.generation for entry in entries],
        "documents": [entry.document for entry in entries],
        "versions": [entry.version for entry in entries],
    }
    move = None
    if attached is not None:
        await connection.execute(statement("become_owner"))
        move = await _write(connection, parameters, attached)
    async with connection.pipeline():
        for name in ("notify", "lock_change_log"):
            await connection.execute(statement(name), parameters)
        before = await connection.execute(statement("identity_and_head")) if move else None
        cursor = await connection.execute(statement("log"), parameters)
    position = max(int(each) for (each,) in await cursor.fetchall())
    if move is not None and before is not None:
        identity, head = await before.fetchone() or ("", 0)
        await move(identity, head, position)
    return position


async def _write(connection: Connection, parameters: dict[str, object], attached: Attached) -> Move | None:
    """None when the index failed: a document is published all the same."""
    replacements = await changelog.standing(connection, parameters)
    try:
        async with connection.transaction():
            return await attached.write(connection, replacements)
    except IndexFailure as error:
        logger.warning("the index was not brought up to date in the same transaction: %s", error)
        return None
