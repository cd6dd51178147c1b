"""Letting go of what nothing needs any more: generations, vectors, history, tombstones."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from ragstone.catalog import changelog, publishing
from ragstone.catalog.appending import Attached
from ragstone.catalog.connections import Connections
from ragstone.catalog.statements import statement
from ragstone.models import Collection, Generation

_DOCUMENTS = 500  # whose chunks are deleted in one transaction
_FOUND = 200_000  # unused vectors that one look finds
_VECTORS = 10_000  # that are deleted while publishing waits
_ENTRIES = 10_000  # of the change log that one transaction looks at


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How many of each were let go."""

    generations: int = 0
    vectors: int = 0
    versions: int = 0
    tombstones: int = 0
    questions: int = 0
    log_entries: int = 0  # that later ones made useless


async def drop(
    connections: Connections, collection: Collection, generation: Generation, attached: Attached | None
) -> bool:
    """End a generation: nothing is written to it from now on, and its points leave the index. False when it serves.

    What an interruption leaves undone the next sweep does.
    """
    parameters = {"collection": collection.id, "generation": generation.id}
    if not await connections.run(collection.tenant, ("lock_generation", "drop_generation"), parameters):
        return False
    await _empty(connections, collection, generation.id, attached)
    return True


async def _empty(connections: Connections, collection: Collection, dropped: UUID, attached: Attached | None) -> None:
    """Delete what a dropped generation holds, until a reindex makes it anew: that waits for the batch under way."""
    parameters = {"generation": dropped, "limit": _DOCUMENTS}
    while True:
        async with connections.loading(collection.tenant) as connection:
            cursor = await connection.execute(statement("documents_of_dropped"), parameters)
            rows = await cursor.fetchall()
            if not rows:
                break
            await publishing.end(connection, collection, [document for (document,) in rows], dropped, attached)
    await connections.run(collection.tenant, ("delete_versions_of_dropped",), parameters)


async def sweep(
    connections: Connections,
    collection: Collection,
    history: int,
    tombstones: int,
    asked: int,
    attached: Attached | None,
) -> Swept:
    """Remove ended versions, tombstones and questions older than so many hours, and vectors that no chunk uses."""
    for (dropped,) in await connections.run(collection.tenant, ("half_dropped",), {"collection": collection.id}):
        await _empty(connections, collection, dropped, attached)
    return Swept(
        versions=await _delete(connections, collection, "sweep_versions", history),
        tombstones=await _delete(connections, collection, "sweep_tombstones", tombstones)
        + await _delete(connections, collection, "sweep_pushed", tombstones),
        questions=await _delete(connections, collection, "sweep_questions", asked),
        vectors=await _sweep_vectors(connections, collection),
        log_entries=await compact(connections),
    )


async def _delete(connections: Connections, collection: Collection, name: str, hours: int) -> int:
    return len(await connections.run(collection.tenant, (name,), {"collection": collection.id, "hours": hours}))


async def _sweep_vectors(connections: Connections, collection: Collection) -> int:
    """Looking takes long and holds nobody up. Publishing waits while some are deleted: a version must not count on a
    vector that is about to go.
    """
    swept, found = 0, _FOUND
    while found == _FOUND:
        after = await changelog.head(connections)
        unused = await connections.run(collection.tenant, ("unused_vectors",), {"limit": _FOUND})
        found = len(unused)
        for start in range(0, found, _VECTORS):
            hashes, fingerprints = zip(*unused[start : start + _VECTORS], strict=True)
            parameters = {"hashes": list(hashes), "fingerprints": list(fingerprints), "after": after}
            swept += len(await connections.run(collection.tenant, ("lock_vectors", "sweep_vectors"), parameters))
    return swept


async def compact(connections: Connections) -> int:
    """Delete what a later entry of the change log makes useless, for all tenants; gives how many entries.

    Who follows the log is given the newest state of a document, so its newest entry says all that the others would. A
    deletion stays as long as it is that: an index that lags behind it has points to let go.
    """
    deleted, looked_at = 0, _ENTRIES
    while looked_at == _ENTRIES:
        async with connections.owner() as connection, connection.transaction():
            await connection.execute(statement("lock_compaction"))
            cursor = await connection.execute(statement("compact"), {"limit": _ENTRIES})
            row = await cursor.fetchone()
        assert row is not None
        superseded, looked_at = row
        deleted += superseded
    return deleted
