"""Letting go of what nothing needs any more: generations, vectors, history, tombstones."""

from __future__ import annotations

from dataclasses import dataclass

from ragstone.catalog import publishing
from ragstone.catalog.connections import Connections
from ragstone.models import Collection, Generation

_DOCUMENTS = 500  # whose chunks are deleted in one transaction
_VECTORS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """How many of each were let go."""

    generations: int = 0
    vectors: int = 0
    versions: int = 0
    tombstones: int = 0
    questions: int = 0


async def drop(connections: Connections, collection: Collection, generation: Generation) -> bool:
    """End a generation: nothing is written to it from now on, and its points leave the index. False when it serves.

    Safe to interrupt and to run again.
    """
    parameters = {"collection": collection.id, "generation": generation.id, "limit": _DOCUMENTS}
    if not await connections.run(collection.tenant, ("drop_generation",), parameters):
        return False
    while rows := await connections.run(collection.tenant, ("documents_of_generation",), parameters):
        async with connections.loading(collection.tenant) as connection:
            await publishing.end(connection, collection, [document for (document,) in rows], generation.id)
    await connections.run(collection.tenant, ("delete_versions_of_generation",), parameters)
    return True


async def sweep(connections: Connections, collection: Collection, history: int, tombstones: int, asked: int) -> Swept:
    """Remove ended versions, tombstones and questions older than so many hours, and vectors that no chunk uses."""
    return Swept(
        versions=await _delete(connections, collection, "sweep_versions", history),
        tombstones=await _delete(connections, collection, "sweep_tombstones", tombstones)
        + await _delete(connections, collection, "sweep_pushed", tombstones),
        questions=await _delete(connections, collection, "sweep_questions", asked),
        vectors=await _sweep_vectors(connections, collection),
    )


async def _delete(connections: Connections, collection: Collection, name: str, hours: int) -> int:
    return len(await connections.run(collection.tenant, (name,), {"collection": collection.id, "hours": hours}))


async def _sweep_vectors(connections: Connections, collection: Collection) -> int:
    """Publishing waits meanwhile, a batch at a time: a version must not count on a vector that is about to go."""
    swept = 0
    while rows := await connections.run(collection.tenant, ("lock_vectors", "sweep_vectors"), {"limit": _VECTORS}):
        swept += len(rows)
    return swept
