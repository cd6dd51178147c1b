"""A worker's surroundings: a source that does as a test wants it to, a model without weights, and a real queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias
from uuid import UUID

import numpy as np

from catalog.material import FINGERPRINT, generation, vector
from ragstone.catalog.catalog import Catalog
from ragstone.catalog.queue import Job, Lane, QueuedJob
from ragstone.chunking.fixed import Fixed
from ragstone.embedding.base import Embedder, Usage
from ragstone.embedding.base import Lane as EmbeddingLane
from ragstone.errors import RagstoneError
from ragstone.indexing.pipeline import Outcome, Pipeline, Recipe
from ragstone.indexing.report import Report
from ragstone.indexing.sync import Sync
from ragstone.indexing.worker import Worker
from ragstone.models import Collection, Document, Failure, Fetched, Fingerprint, Generation, Item, Skip, Vectors
from ragstone.parsing.parse import parse

PREFIX = "shelf:/"

Doing: TypeAlias = Callable[[str], Awaitable[None]]
Condition: TypeAlias = Callable[[], Awaitable[bool]]


async def nothing(uri: str) -> None:
    """What a fetch does before it gives the bytes, when nothing goes wrong."""


@dataclass
class Shelf:
    """A source of texts by their names. `doing` runs within each fetch, and may take its time or raise."""

    texts: dict[str, str] = field(default_factory=dict)
    doing: Doing = nothing
    name: str = "shelf"
    prefix: str = PREFIX
    skips: list[Skip] = field(default_factory=list)
    listed: int = 0
    listing: BaseException | None = None  # raised by it
    fetched: Counter[str] = field(default_factory=Counter)
    overlaps: set[str] = field(default_factory=set)
    _open: set[str] = field(default_factory=set)

    def uri(self, name: str) -> str:
        return PREFIX + name

    async def items(self) -> AsyncIterator[Item | Skip]:
        self.listed += 1
        if self.listing is not None:
            raise self.listing
        for name in self.texts:
            yield self._item(name)
        for skip in self.skips:
            yield skip

    async def look(self, uri: str) -> Item | Skip | None:
        name = uri.removeprefix(PREFIX)
        return self._item(name) if name in self.texts else None

    async def fetch(self, item: Item, limit: int, known: str | None = None) -> Fetched | None:
        if item.uri in self._open:
            self.overlaps.add(item.uri)
        self._open.add(item.uri)
        try:
            self.fetched[item.name] += 1
            data = self.texts[item.name].encode()
            await self.doing(item.name)
        finally:
            self._open.discard(item.uri)
        return Fetched(data=data, revision=item.revision or "")

    def _item(self, name: str) -> Item:
        return Item(uri=self.uri(name), revision=f"of {self.texts[name]}", name=name)


@dataclass
class Hashes:
    """An embedder whose vectors are hashes. It fails as a test wants it to."""

    failing: RagstoneError | None = None
    fingerprint: Fingerprint = FINGERPRINT
    max_tokens: int = 100
    price: float = 0.0
    usage: Usage = field(default_factory=Usage)

    def count(self, text: str) -> int:
        return len(text.split())

    async def embed(self, texts: Sequence[str], lane: EmbeddingLane) -> Vectors:
        if self.failing is not None:
            raise self.failing
        rows = np.stack([vector(text) for text in texts])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    async def aclose(self) -> None: ...


class Parser:
    async def parse(self, data: bytes, name: str, charset: str | None = None) -> Document:
        return parse(data, name, charset)


@dataclass
class Bench:
    """One collection with its queue. Each worker has a catalog of its own, as a process would."""

    catalog: Catalog
    collection: Collection
    generation: Generation
    shelf: Shelf = field(default_factory=Shelf)
    embedder: Embedder = field(default_factory=Hashes)
    done: list[tuple[Job, Outcome | RagstoneError]] = field(default_factory=list)

    def worker(
        self, *, attempts: int = 3, concurrency: int = 4, digest: str = "settings", catalog: Catalog | None = None
    ) -> Worker:
        return Worker(
            Pipeline(
                catalog=catalog or self.catalog,
                collection=self.collection,
                recipes=self._recipe,
                parser=Parser(),
                max_bytes=10**6,
            ),
            {self.shelf.name: self.shelf}.__getitem__,
            concurrency=concurrency,
            attempts=attempts,
            digest=digest,
            notice=lambda job, result: self.done.append((job, result)),
            random=Random(0),
        )

    async def _recipe(self, id: UUID) -> Recipe:  # noqa: A002
        chunker = Fixed(self.embedder.count, 50, 0.0, prefix=False)
        return Recipe(generation=self.generation, embedder=self.embedder, chunker=chunker)

    async def scan(self, digest: str = "settings") -> list[str]:
        """A pass over the shelf."""
        sync = Sync(catalog=self.catalog, collection=self.collection, digest=digest)
        return await sync.scan(self.shelf, Report(), allow_empty=True)

    async def add(self, *names: str, delay: float = 0.0, lane: Lane = "live", attempt: int = 1) -> None:
        jobs = [
            Job(source=self.shelf.name, uri=self.shelf.uri(n), lane=lane, delay=delay, attempt=attempt) for n in names
        ]
        await self.catalog.queue.add(self.collection, jobs)

    async def jobs(self) -> list[QueuedJob]:
        return await self.catalog.queue.jobs(self.collection)

    async def failures(self) -> dict[str, Failure]:
        return {f.uri.removeprefix(PREFIX): f for f in await self.catalog.failures(self.collection)}

    async def indexed(self) -> dict[str, str | None]:
        """The revisions that are served, by name."""
        states = await self.catalog.states(self.generation)
        return {uri.removeprefix(PREFIX): state.revision for uri, state in states.items()}


async def bench(catalog: Catalog) -> Bench:
    collection, made = await generation(catalog)
    await catalog.serve(made)
    return Bench(catalog, collection, made)


@asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Workers that run meanwhile, and are told to stop at the end."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Condition, seconds: float = 30.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 (it is in the database)
            await asyncio.sleep(0.05)
