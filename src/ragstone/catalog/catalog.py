"""The catalog: the one place where indexing and answering meet, and the truth that every index is made from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict
from functools import partial
from itertools import chain, repeat
from uuid import UUID, uuid5

import numpy as np
import numpy.typing as npt
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from ragstone.catalog import changelog, publishing, reading, sweeping
from ragstone.catalog.appending import Attached
from ragstone.catalog.auditing import Auditing
from ragstone.catalog.changelog import ChangeSignal
from ragstone.catalog.connections import Connection, Connections, conninfo
from ragstone.catalog.faults import catalog_errors
from ragstone.catalog.migrations import ensure_schema
from ragstone.catalog.pushed import Pushed
from ragstone.catalog.queue import Queue
from ragstone.catalog.statements import statement
from ragstone.errors import CatalogError
from ragstone.models import (
    Collection,
    DocumentState,
    Failure,
    Fingerprint,
    Generation,
    Metadata,
    NewVersion,
    Observation,
    Replacement,
    StoredChunk,
    Vectors,
    collection_id,
)


class Catalog:
    """Documents, versions, chunks, vectors and the change log in PostgreSQL.

    What is done for a tenant (who is named by the record or argument) is done under row-level security: other
    tenants' rows cannot be read or written, whatever ids are passed. Every method raises CatalogUnavailable when
    PostgreSQL cannot be reached, and CatalogError when it refuses.
    """

    def __init__(self, url: str, pool_size: int, attached: Attached | None = None) -> None:
        self._connections = Connections(url, pool_size)
        self._signal = ChangeSignal(url)
        self._attached = attached
        self.url = url
        self.queue = Queue(self._connections)
        self.pushed = Pushed(self._connections)
        self.auditing = Auditing(url, self._connections)

    @classmethod
    async def open(cls, url: str, *, pool_size: int = 4, attached: Attached | None = None) -> Catalog:
        """Connect to any PostgreSQL ≥ 16, bringing the schema up to date first if it is not.

        An `attached` index is in the same database, and is written to in the transactions that publish.
        """
        address = conninfo(url)
        await ensure_schema(address)
        catalog = cls(address, pool_size, attached)
        await catalog._connections.open()
        return catalog

    async def aclose(self) -> None:
        await self._signal.aclose()
        await self._connections.aclose()

    # --- collections, sources, generations ----------------------------------------------------------------------

    async def ensure_collection(self, tenant: str, name: str) -> Collection:
        """The collection of this name, made (and its tenant with it) if it is not there."""
        with catalog_errors():
            parameters = {"id": collection_id(tenant, name), "name": name}
        (row,) = await self._connections.run(tenant, ("add_tenant", "add_collection", "collection"), parameters)
        return reading.collection(row)

    async def collection(self, tenant: str, name: str) -> Collection | None:
        """The collection of this name as it is now."""
        rows = await self._connections.run(tenant, ("collection",), {"name": name})
        return reading.collection(rows[0]) if rows else None

    def alone(self, collection: Collection, work: str) -> AbstractAsyncContextManager[Callable[[], Awaitable[None]]]:
        """As `only`, for work on one collection."""
        return self.only(f"{collection.id} {work}")

    @asynccontextmanager
    async def only(self, work: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Nobody else does this work meanwhile: whoever comes later waits. A process that dies frees it.

        A connection that is lost frees it too, which what it gives tells by CatalogUnavailable.
        """
        with catalog_errors():
            connection = await AsyncConnection.connect(self.url, autocommit=True)
        try:
            with catalog_errors():
                await _lock(connection, work)
            yield partial(_still_there, connection)
        finally:
            await connection.close()

    async def at_work(self, collection: Collection, work: str) -> bool:
        """Whether somebody does this work alone right now."""
        ((free,),) = await self._connections.run_as_owner("is_free", {"work": f"{collection.id} {work}"})
        return not free

    async def record_source(self, collection: Collection, name: str, prefix: str) -> None:
        """Remember a source that was just read completely. `prefix` starts the URI of all that comes from it."""
        parameters = {"collection": collection.id, "name": name, "prefix": prefix}
        await self._connections.run(collection.tenant, ("record_source",), parameters)

    async def forget_source(self, collection: Collection, name: str) -> None:
        """Remove what `record_source` kept; its documents stay."""
        await self._connections.run(collection.tenant, ("forget_source",), {"collection": collection.id, "name": name})

    async def sources(self, collection: Collection) -> list[reading.SourceRecord]:
        """The sources by name, with the time when each was last read completely."""
        rows = await self._connections.run(collection.tenant, ("sources",), {"collection": collection.id})
        return [reading.source(row) for row in rows]

    async def create_generation(
        self,
        collection: Collection,
        fingerprint: Fingerprint,
        probes: Vectors,
        settings: Metadata,
        embedding: Metadata | None = None,
    ) -> Generation:
        """The generation of this fingerprint and these settings; a collection has it once, however often it is asked.

        `probes` are the fixed probe texts' vectors, kept with the fingerprint when it is seen for the first time.
        `embedding` is how to make the embedder again, and no part of what tells generations apart.
        """
        if probes.ndim != 2 or probes.shape[1] != fingerprint.dimensions:
            raise CatalogError(f"the probes have the shape {probes.shape}, not [n, {fingerprint.dimensions}]")
        parameters = {
            "id": uuid5(collection.id, fingerprint.digest + json.dumps(dict(settings), sort_keys=True)),
            "collection": collection.id,
            "fingerprint": fingerprint.digest,
            "settings": Jsonb(dict(settings)),
            "embedding": Jsonb(dict(embedding or {})),
            "digest": fingerprint.digest,
            "spec": Jsonb(dict(fingerprint.spec)),
            "dimensions": fingerprint.dimensions,
            "probes": b"".join(publishing.vector_bytes(probes)),
        }
        names = ("add_fingerprint", "add_generation", "generation")
        (row,) = await self._connections.run(collection.tenant, names, parameters)
        return reading.generation(row)

    async def generations(self, collection: Collection) -> list[Generation]:
        """The generations that are kept up to date, oldest first."""
        rows = await self._connections.run(collection.tenant, ("generations",), {"collection": collection.id})
        return [reading.generation(row) for row in rows]

    async def generation(self, tenant: str, id: UUID) -> Generation | None:  # noqa: A002
        rows = await self._connections.run(tenant, ("generation",), {"id": id})
        return reading.generation(rows[0]) if rows else None

    async def serve(self, generation: Generation) -> None:
        """Let this generation answer its collection's questions from now on."""
        parameters = {"collection": generation.collection, "generation": generation.id}
        if not await self._connections.run(generation.tenant, ("serve",), parameters):
            raise CatalogError(f"the tenant {generation.tenant!r} has no generation {generation.id} (any more)")

    async def record_check(self, generation: Generation, quarantine: str | None) -> None:
        """The generation's model was compared with its probes just now: why nothing may be written, or None."""
        parameters = {"generation": generation.id, "reason": quarantine}
        await self._connections.run(generation.tenant, ("checked",), parameters)

    async def record_tuning(self, generation: Generation, engine: str, values: Metadata) -> None:
        """Keep how an engine is best asked for this generation's hits."""
        parameters = {"generation": generation.id, "tuning": Jsonb({engine: dict(values)})}
        await self._connections.run(generation.tenant, ("record_tuning",), parameters)

    async def fields(self, collection: Collection) -> set[str]:
        """The names of all that its documents' metadata could ever be filtered by."""
        rows = await self._connections.run(collection.tenant, ("fields",), {"collection": collection.id})
        return {name for (name,) in rows}

    async def drop(self, collection: Collection, generation: Generation) -> bool:
        """End a generation and delete what it holds; False when it serves."""
        return await sweeping.drop(self._connections, collection, generation, self._attached)

    async def sweep(self, collection: Collection, *, history: int, tombstones: int, questions: int) -> sweeping.Swept:
        """Remove ended versions, tombstones and questions older than so many hours; unused vectors and log entries."""
        return await sweeping.sweep(self._connections, collection, history, tombstones, questions, self._attached)

    async def compact(self) -> int:
        """Delete the change-log entries that later ones make useless, of all tenants; gives how many."""
        return await sweeping.compact(self._connections)

    async def probes(self, fingerprint: Fingerprint) -> Vectors:
        """The probe texts' vectors as they were when the fingerprint was first seen: [n, dimensions]."""
        rows = await self._connections.run_as_owner("probes", {"digest": fingerprint.digest})
        if not rows:
            raise CatalogError(f"the fingerprint {fingerprint.digest[:12]} is not in the catalog")
        return reading.vector(rows[0][0]).reshape(-1, fingerprint.dimensions)

    # --- documents ----------------------------------------------------------------------------------------------

    async def states(self, generation: Generation, prefix: str = "") -> dict[str, DocumentState]:
        """The generation's documents by URI, those whose URI starts with the prefix."""
        parameters = {"generation": generation.id, "prefix": prefix}
        rows = await self._connections.run(generation.tenant, ("states",), parameters)
        return {state.uri: state for state in map(reading.state, rows)}

    async def moment(self) -> int:
        """The present, as observations of documents count it."""
        ((seen,),) = await self._connections.run_as_owner("moment", {})
        return int(seen)

    async def observe(self, collection: Collection, uri: str) -> Observation | None:
        """What is known of a document, from the moment before its source is looked at; None without a generation."""
        rows = await self._connections.run(collection.tenant, ("observe",), {"collection": collection.id, "uri": uri})
        return reading.observation(rows) if rows else None

    async def publish(self, generation: Generation, versions: Sequence[NewVersion]) -> int:
        """Make these the current versions of their documents, all in one transaction; gives the position.

        Should it fail, the old versions go on serving and nothing of the new ones is there. A document that another
        process publishes at the same time is waited for, and its version superseded. One that was seen later already,
        there or gone, is left as it is.
        """
        batch = await asyncio.to_thread(publishing.prepare, generation, versions)
        position = 0
        if batch:
            async with self._connections.loading(generation.tenant) as connection:
                position = await publishing.publish(connection, generation, batch, self._attached)
        return position or await self.head()

    async def claim(self, collection: Collection, source: str, uris: Sequence[str]) -> None:
        """Make documents the source's own: what it lists no longer is then known to be gone."""
        async with self._connections.loading(collection.tenant) as connection:
            await publishing.claim(connection, collection, source, uris, self._attached)

    async def touch(self, generation: Generation, revisions: Mapping[str, str], seen: int | None = None) -> None:
        """Record new revisions, by URI, of documents whose content is the same, and the moment they were seen."""
        parameters = {
            "collection": generation.collection,
            "generation": generation.id,
            "uris": list(revisions),
            "revisions": list(revisions.values()),
            "seen": seen or 0,
        }
        names = "lock_documents", "mark_seen", "clear_failures", "touch"
        await self._connections.run(generation.tenant, names, parameters)

    async def delete(self, collection: Collection, uris: Sequence[str], seen: int | None = None) -> int:
        """Remove documents, text and all, from every generation; gives the position. Unknown URIs are passed over.

        `seen` is when they were found to be gone (now, without it): those that were seen later stay.
        """
        async with self._connections.loading(collection.tenant) as connection:
            position = await publishing.delete(connection, collection, uris, seen, self._attached)
        return position or await self.head()

    async def known_vectors(self, generation: Generation, texts: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """The vectors of those of the texts (prefix included) that were embedded before, for this tenant."""
        hashes = {publishing.text_hash(text): text for text in texts}
        parameters = {"fingerprint": generation.fingerprint.digest, "hashes": list(hashes)}
        rows = await self._connections.run(generation.tenant, ("vectors",), parameters)
        return {hashes[digest]: reading.vector(stored) for digest, stored in rows}

    async def save_vectors(self, generation: Generation, texts: Sequence[str], vectors: Vectors) -> None:
        """Keep the vectors of texts (prefix included) before they are published, so that a crash does not cost them."""
        expected = (len(texts), generation.fingerprint.dimensions)
        if vectors.shape != expected:
            raise CatalogError(f"the vectors have the shape {vectors.shape}, not {expected}")
        async with self._connections.loading(generation.tenant) as connection:
            await publishing.save_vectors(connection, generation, texts, publishing.vector_bytes(vectors))

    async def chunks(self, generation_id: UUID, tenant: str, ids: Sequence[UUID]) -> dict[UUID, StoredChunk]:
        """Those of the chunks that belong to a current version in this generation of this tenant, by id."""
        parameters = {"generation": generation_id, "ids": list(ids)}
        rows = await self._connections.run(tenant, ("chunks",), parameters)
        return {chunk.id: chunk for chunk in map(reading.chunk, rows)}

    async def count_documents(self, generation: Generation) -> int:
        """How many documents a generation holds: quick, where `stats` reads through all chunks."""
        rows = await self._connections.run(generation.tenant, ("count_documents",), {"generation": generation.id})
        return int(rows[0][0])

    async def stats(self, collection: Collection) -> reading.CollectionStats:
        parameters = {"collection": collection.id}
        (totals,) = await self._connections.run(collection.tenant, ("collection_stats",), parameters)
        rows = await self._connections.run(collection.tenant, ("generation_stats",), parameters)
        return reading.collection_stats(totals, rows)

    async def texts(self, generation_id: UUID, tenant: str, spans: Sequence[tuple[UUID, int, int]]) -> list[str | None]:
        """The text of each (version, start, end), offsets in characters; None where the version is not current."""
        versions, starts, ends = zip(*spans, strict=True) if spans else ((), (), ())
        parameters = {
            "generation": generation_id,
            "versions": list(versions),
            "starts": list(starts),
            "ends": list(ends),
        }
        return [text for (text,) in await self._connections.run(tenant, ("spans",), parameters)]

    # --- failures -----------------------------------------------------------------------------------------------

    async def record_failures(self, collection: Collection, failures: Sequence[Failure]) -> None:
        """Keep why documents could not be indexed, until they are indexed or gone."""
        if failures:
            rows = [asdict(failure) for failure in failures]
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            parameters = {"collection": collection.id, **columns}
            await self._connections.run(collection.tenant, ("record_failures",), parameters)

    async def failures(self, collection: Collection, source: str | None = None) -> list[Failure]:
        """Documents that could not be indexed, of one source or of all."""
        parameters = {"collection": collection.id, "source": source}
        return [reading.failure(r) for r in await self._connections.run(collection.tenant, ("failures",), parameters)]

    async def count_failures(self, collection: Collection) -> int:
        """How many documents could not be indexed; accepted failures do not count."""
        rows = await self._connections.run(collection.tenant, ("count_failures",), {"collection": collection.id})
        return int(rows[0][0])

    async def clear_failures(self, collection: Collection, uris: Sequence[str]) -> None:
        """Forget what went wrong with documents: the next pass over their source tries them again."""
        if uris:
            parameters = {"collection": collection.id, "uris": list(uris)}
            await self._connections.run(collection.tenant, ("clear_failures",), parameters)

    async def accept_failures(self, collection: Collection, uris: Sequence[str]) -> None:
        """Mark failures as seen: the documents are not tried again before they change."""
        parameters = {"collection": collection.id, "uris": list(uris)}
        await self._connections.run(collection.tenant, ("accept_failures",), parameters)

    # --- questions ----------------------------------------------------------------------------------------------

    async def record_question(self, collection: Collection, question: str) -> None:
        """Keep what was asked, to compare generations on."""
        parameters = {"collection": collection.id, "question": question}
        await self._connections.run(collection.tenant, ("record_question",), parameters)

    async def questions(self, collection: Collection, limit: int) -> list[str]:
        """A sample of what was asked, always the same one."""
        parameters = {"collection": collection.id, "limit": limit}
        return [text for (text,) in await self._connections.run(collection.tenant, ("sample_questions",), parameters)]

    async def headings(self, generation: Generation, limit: int) -> list[tuple[str, tuple[str, ...]]]:
        """A sample of (URI, heading path) of the sections that a generation holds."""
        parameters = {"generation": generation.id, "limit": limit}
        rows = await self._connections.run(generation.tenant, ("sample_headings",), parameters)
        return [(uri, tuple(path)) for uri, path in rows]

    # --- the change log -----------------------------------------------------------------------------------------

    async def identity(self) -> str:
        """The moment this catalog was made: another one at the same address has another."""
        ((made,),) = await self._connections.run_as_owner("identity", {})
        return str(made)

    async def head(self) -> int:
        """The newest position of the change log; 0 before the first change."""
        return await changelog.head(self._connections)

    async def replacements(self, after: int, limit: int) -> tuple[list[Replacement], int]:
        """What stands now for each document in the next `limit` changes after a position, and the last one's position.

        A document comes once. Its state is that of now: it may hold a later change already, which then comes again.
        """
        return await changelog.replacements(self._connections, after, limit)

    async def changed(self, after: int, timeout: float) -> bool:
        """Wait until the newest position is past `after`; False when it is not after `timeout` seconds."""
        return await changelog.changed(self._connections, self._signal, after, timeout)


async def _still_there(connection: Connection) -> None:
    with catalog_errors():
        await connection.execute("SELECT")


async def _lock(connection: Connection, work: str) -> None:
    """Ask again and again: a statement that waits for hours would keep dead rows of the whole database alive."""
    for pause in chain((0.05, 0.1, 0.2, 0.5), repeat(1.0)):
        cursor = await connection.execute(statement("lock_work"), {"work": work})
        row = await cursor.fetchone()
        if row is not None and row[0]:
            return
        await asyncio.sleep(pause)
