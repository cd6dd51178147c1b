"""The flow of a document: list → fetch → parse → chunk → embed → publish."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragstone.catalog.catalog import Catalog
from ragstone.chunking.base import Chunker
from ragstone.embedding.base import Embedder
from ragstone.errors import (
    BrokenDocument,
    DocumentError,
    EmptyDocument,
    RagstoneError,
    SourceError,
    UnreadableDocument,
)
from ragstone.indexing.report import Progress, Report
from ragstone.models import Chunk, Collection, Document, DocumentState, Generation, Item, NewVersion, Skip, Vectors
from ragstone.parsing.parse import parse
from ragstone.sources.base import Source

BATCH_CHUNKS = 128  # embedded and published together: enough to keep the embedder busy, little to lose in a crash
BATCH_DOCUMENTS = 64
PORTION = 2 * BATCH_CHUNKS  # texts embedded in one call
AHEAD = 4  # documents fetched and parsed before their turn
LONGEST_URI = 2000  # bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A changed document, cut into chunks but not embedded."""

    item: Item
    content_hash: bytes
    document: Document
    chunks: list[Chunk]


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """Brings one generation up to date with its sources. Safe to kill at any instruction and to run again."""

    catalog: Catalog
    collection: Collection
    generation: Generation
    embedder: Embedder
    chunker: Chunker
    max_bytes: int

    async def sync(self, source: Source, progress: Progress, *, allow_empty: bool = False) -> Report:
        """One pass over the source: new and changed documents are published, those that are gone are deleted.

        Raises SourceError when the source as a whole cannot be read; what was published by then stays, and nothing
        is deleted. A source that lists nothing at all is taken for a mistake unless `allow_empty`. A second pass over
        the same source, by any process, waits for the first.
        """
        async with self.catalog.alone(self.collection, source.name):
            return await self._sync(source, progress, allow_empty)

    async def _sync(self, source: Source, progress: Progress, allow_empty: bool) -> Report:
        report = Report()
        known = await self._known(source)
        items = await _list(source, report)
        if known and not report.listed and not allow_empty:
            raise SourceError(
                f"{source.name} lists nothing, but {len(known)} of its documents are indexed: nothing was changed",
                hint="if they are really gone, run again with --allow-empty",
            )
        run = _Run(self, source, known, report, progress)
        await run.publish_changed(items)
        await run.claim(items)
        await run.delete_gone(items)
        report.position = max(report.position, await self.catalog.head())
        progress(report)
        return report

    async def _known(self, source: Source) -> dict[str, DocumentState]:
        """What is indexed under the source's prefix. No folder is a document's URI, and may start others."""
        known = await self.catalog.states(self.generation, source.prefix)
        return {uri: state for uri, state in known.items() if _is_folder(source) or uri == source.prefix}


def _is_folder(source: Source) -> bool:
    return source.prefix.endswith("/")


async def _list(source: Source, report: Report) -> list[Item]:
    items = []
    with _timed(report, "list"):
        async for found in source.items():
            report.listed += 1
            if isinstance(found, Skip):
                report.skipped.append(found)
            else:
                items.append(found)
    return items


@dataclass(frozen=True, slots=True)
class _Run:
    """One pass over one source. Its stages run at once, joined by short queues; None ends a queue."""

    indexer: Indexer
    source: Source
    known: Mapping[str, DocumentState]
    report: Report
    progress: Progress

    async def publish_changed(self, items: Sequence[Item]) -> None:
        changed = [item for item in items if not self._same_revision(item)]
        self.report.unchanged = len(items) - len(changed)
        self.progress(self.report)
        prepared: asyncio.Queue[Prepared | None] = asyncio.Queue(AHEAD)
        embedded: asyncio.Queue[list[NewVersion] | None] = asyncio.Queue(1)
        try:
            async with asyncio.TaskGroup() as stages:
                stages.create_task(self._prepare_all(changed, prepared))
                stages.create_task(self._embed_all(prepared, embedded))
                stages.create_task(self._publish_all(embedded))
        except BaseExceptionGroup as failed:
            first = failed.exceptions[0]
            raise first from first.__cause__

    async def claim(self, items: Sequence[Item]) -> None:
        """What a folder lists is its own from now on, and of no other source that listed it before."""
        others = [i.uri for i in items if i.uri in self.known and self.known[i.uri].source != self.source.name]
        if others and _is_folder(self.source):
            await self.indexer.catalog.claim(self.indexer.collection, self.source.name, others)

    async def delete_gone(self, items: Sequence[Item]) -> None:
        """The source's own documents that it did not list. What could not be read is not gone, nor what lies in it."""
        unread = tuple(skip.uri for skip in self.report.skipped)
        folders = tuple(uri for uri in unread if uri.endswith("/"))
        listed = {item.uri for item in items}.union(unread)
        own = [uri for uri, state in self.known.items() if state.source == self.source.name]
        gone = [uri for uri in own if uri not in listed and not uri.startswith(folders)]
        if gone:
            self.report.position = await self.indexer.catalog.delete(self.indexer.collection, gone)
            self.report.deleted = len(gone)

    def _same_revision(self, item: Item) -> bool:
        state = self.known.get(item.uri)
        return state is not None and state.revision == item.revision

    # --- fetch, parse, chunk ------------------------------------------------------------------------------------

    async def _prepare_all(self, items: Sequence[Item], out: asyncio.Queue[Prepared | None]) -> None:
        touched: dict[str, str] = {}
        for item in items:
            try:
                prepared = await self._prepare(item)
            except DocumentError as error:
                self.report.skipped.append(Skip(uri=item.uri, code=error.code, reason=str(error)))
                self.progress(self.report)
                continue
            if prepared is None:
                touched[item.uri] = item.revision
            else:
                await out.put(prepared)
        if touched:
            await self.indexer.catalog.touch(self.indexer.generation, touched)
            self.report.touched = len(touched)
        await out.put(None)

    async def _prepare(self, item: Item) -> Prepared | None:
        """None when the content is what is indexed already. Raises DocumentError."""
        if len(item.uri.encode()) > LONGEST_URI:
            raise UnreadableDocument(f"its address has more than {LONGEST_URI} bytes")
        with _timed(self.report, "fetch"):
            fetched = await self.source.fetch(item, self.indexer.max_bytes)
            assert fetched is not None
            data = fetched.data
            content_hash = hashlib.sha256(data).digest()
        state = self.known.get(item.uri)
        if state is not None and state.content_hash == content_hash:
            return None
        document, chunks = await self._cut(item, data)
        return Prepared(item=item, content_hash=content_hash, document=document, chunks=chunks)

    async def _cut(self, item: Item, data: bytes) -> tuple[Document, list[Chunk]]:
        """The document and its chunks. Whatever goes wrong is this one document's fault, and the others go on."""
        try:
            with _timed(self.report, "parse"):
                document = await asyncio.to_thread(parse, data, item.name)
            with _timed(self.report, "chunk"):
                chunks = await asyncio.to_thread(self.indexer.chunker.chunk, document)
        except RagstoneError:
            raise
        except Exception as error:
            logger.debug("%s", item.uri, exc_info=True)
            raise BrokenDocument(f"{type(error).__name__} while reading it: {error}") from error
        if not chunks:
            raise EmptyDocument("there is no text in it")
        return document, chunks

    # --- embed --------------------------------------------------------------------------------------------------

    async def _embed_all(
        self, prepared: asyncio.Queue[Prepared | None], out: asyncio.Queue[list[NewVersion] | None]
    ) -> None:
        async for batch in _batches(prepared):
            await out.put(await self._embed(batch))
        await out.put(None)

    async def _embed(self, batch: Sequence[Prepared]) -> list[NewVersion]:
        """Only texts that have no vector under this fingerprint are embedded, each once."""
        texts = list(dict.fromkeys(chunk.embedded for p in batch for chunk in p.chunks))
        with _timed(self.report, "publish"):
            known = await self.indexer.catalog.known_vectors(self.indexer.generation, texts)
        new = [text for text in texts if text not in known]
        vectors = known | await self._fresh(new)
        self.report.embedded += len(new)
        return [self._version(p, np.stack([vectors[chunk.embedded] for chunk in p.chunks])) for p in batch]

    async def _fresh(self, texts: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Embed texts in portions. All but the last are saved at once: a crash in a long document costs little."""
        vectors: dict[str, npt.NDArray[np.float32]] = {}
        for start in range(0, len(texts), PORTION):
            portion = texts[start : start + PORTION]
            with _timed(self.report, "embed"):
                rows = await self.indexer.embedder.embed(portion, "live")
            vectors |= zip(portion, rows, strict=True)
            if start + PORTION < len(texts):
                await self.indexer.catalog.save_vectors(self.indexer.generation, portion, rows)
        return vectors

    def _version(self, prepared: Prepared, vectors: Vectors) -> NewVersion:
        return NewVersion(
            uri=prepared.item.uri,
            source=self._owner(prepared.item.uri),
            revision=prepared.item.revision,
            content_hash=prepared.content_hash,
            document=prepared.document,
            chunks=prepared.chunks,
            vectors=vectors,
            modified_at=prepared.item.modified_at,
        )

    def _owner(self, uri: str) -> str:
        """A file indexed alone stays with the folder that lists it: that one will notice when it is gone."""
        state = self.known.get(uri)
        return state.source if state and not _is_folder(self.source) else self.source.name

    # --- publish ------------------------------------------------------------------------------------------------

    async def _publish_all(self, embedded: asyncio.Queue[list[NewVersion] | None]) -> None:
        while (versions := await embedded.get()) is not None:
            with _timed(self.report, "publish"):
                self.report.position = await self.indexer.catalog.publish(self.indexer.generation, versions)
            self.report.published += len(versions)
            self.report.chunks += sum(len(version.chunks) for version in versions)
            self.progress(self.report)


async def _batches(prepared: asyncio.Queue[Prepared | None]) -> AsyncIterator[list[Prepared]]:
    """Documents grouped until they have BATCH_CHUNKS chunks, or BATCH_DOCUMENTS of them are waiting."""
    batch: list[Prepared] = []
    while (document := await prepared.get()) is not None:
        batch.append(document)
        if len(batch) >= BATCH_DOCUMENTS or sum(len(p.chunks) for p in batch) >= BATCH_CHUNKS:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def _timed(report: Report, work: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        report.spent(work, time.perf_counter() - start)
