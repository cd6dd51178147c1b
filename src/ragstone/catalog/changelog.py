"""Following the change log: what stands now for each document that changed, and being told of new changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg

from ragstone.catalog.connections import Connection, Connections, Parameters, Rows
from ragstone.catalog.fields import fields
from ragstone.catalog.reading import vector
from ragstone.catalog.statements import statement
from ragstone.errors import CatalogError
from ragstone.models import Fields, Point, Replacement

POLL = 1.0
"""Seconds after which a waiter looks for itself, should a notification have been lost."""

Key = tuple[str, UUID, UUID]  # tenant, generation, document


async def replacements(connections: Connections, after: int, limit: int) -> tuple[list[Replacement], int]:
    """The newest state of every document among the `limit` entries after a position, and the last one's position.

    The state is that of now: it may already hold a later change, which then comes again.
    """
    changed = await connections.run_as_owner("changes", {"after": after, "limit": limit})
    if not changed:
        return [], after
    return await _standing(connections.run_as_owner, changed), max(row[-1] for row in changed)


async def standing(connection: Connection, entries: Parameters) -> list[Replacement]:
    """The state of documents as `replacements` would give it, in the owner's transaction that changes them."""

    async def run(name: str, parameters: Parameters) -> Rows:
        cursor = await connection.execute(statement(name), parameters, binary=True)
        return await cursor.fetchall()

    return await _standing(run, await run("entered", entries))


async def _standing(run: Callable[[str, Parameters], Awaitable[Rows]], changed: Rows) -> list[Replacement]:
    parameters = {
        "tenants": [row[0] for row in changed],
        "generations": [row[2] for row in changed],
        "documents": [row[5] for row in changed],
    }
    points = _points(await run("points", parameters))
    described = _fields(await run("attributes", parameters))
    return [_replacement(row, points, described) for row in changed]


def _points(rows: Rows) -> Mapping[Key, Sequence[Point]]:
    points: dict[Key, list[Point]] = {}
    for tenant, generation, document, chunk, text, digest, stored in rows:
        if stored is None:
            raise CatalogError(
                f"the vector of chunk {chunk} is missing", hint="index its document again: it is embedded anew"
            )
        point = Point(chunk_id=chunk, text=text, vector=vector(stored), hash=digest)
        points.setdefault((tenant, generation, document), []).append(point)
    return points


def _fields(rows: Rows) -> Mapping[Key, Fields]:
    described: dict[Key, Fields] = {}
    for tenant, generation, document, source, uri, title, media_type, modified_at, published_at, metadata in rows:
        described[tenant, generation, document] = fields(
            document,
            source=source,
            uri=uri,
            title=title,
            media_type=media_type,
            modified_at=modified_at,
            published_at=published_at,
            metadata=metadata,
        )
    return described


def _replacement(
    row: tuple[Any, ...], points: Mapping[Key, Sequence[Point]], described: Mapping[Key, Fields]
) -> Replacement:
    tenant, collection, generation, fingerprint, dimensions, document, _ = row
    key = tenant, generation, document
    return Replacement(
        tenant=tenant,
        collection=collection,
        generation=generation,
        fingerprint=fingerprint,
        dimensions=dimensions,
        document_id=document,
        points=tuple(points.get(key, ())),
        fields=described.get(key, {}),
    )


class ChangeSignal:
    """Wakes whoever waits when a transaction that appended to the change log has committed, in any process.

    It may wake for nothing, and it may miss a change while its connection is down: waiters look for themselves.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._next = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    def next(self) -> asyncio.Event:
        """The event that the next change sets."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen(), name="catalog-change-signal")
        return self._next

    async def aclose(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener

    async def _listen(self) -> None:
        with suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
                await connection.execute("LISTEN ragstone_changes")
                self._wake()  # for what was committed before this
                async for _ in connection.notifies():
                    self._wake()

    def _wake(self) -> None:
        woken, self._next = self._next, asyncio.Event()
        woken.set()


async def changed(connections: Connections, signal: ChangeSignal, after: int, timeout: float) -> bool:
    """Wait until the newest position is past `after`; False when it is not after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        woken = signal.next()
        if await head(connections) > after:
            return True
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        # Not wait_for: that of Python 3.11 swallows a cancellation that comes together with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(min(remaining, POLL)):
                await woken.wait()


async def head(connections: Connections) -> int:
    """The newest position, 0 before the first change."""
    ((position,),) = await connections.run_as_owner("head", {})
    return int(position)
