"""The composition root: it puts the parts together, and is the door that CLI and API go through."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ragstone.answering import Answerer, Event
from ragstone.catalog import embedded
from ragstone.catalog.catalog import Catalog
from ragstone.catalog.queue import QueueState
from ragstone.catalog.reading import GenerationStats
from ragstone.embedding import fingerprint
from ragstone.errors import CatalogError, FingerprintMismatch, NothingIndexed, RagstoneError
from ragstone.generation.base import Generator
from ragstone.index.base import Index
from ragstone.index.filters import Filter, refuse_unknown, within
from ragstone.index.sampled import Sampled
from ragstone.indexing.tasks import end
from ragstone.models import Collection, Generation, Scope, scope_of
from ragstone.parts import Embedders, attached, breadth, follower, make_generator, make_index
from ragstone.retrieval.pipeline import Retrieved, Retriever
from ragstone.settings import RetrievalSettings, Settings

if TYPE_CHECKING:
    from ragstone.upkeep import Upkeep

logger = logging.getLogger(__name__)

WATCH = 1.0  # seconds between looks at the embedded PostgreSQL
NOTICED = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the present collection stands."""

    collection: str
    generation: Generation | None  # the serving one
    stats: GenerationStats | None  # what it holds
    position: int  # of the index
    head: int  # of the change log
    queue: QueueState | None
    failures: int  # documents that are not indexed

    @property
    def documents(self) -> int:
        return self.stats.documents if self.stats else 0

    @property
    def chunks(self) -> int:
        return self.stats.chunks if self.stats else 0

    @property
    def lag(self) -> int:
        """Change-log entries that the index has not applied yet."""
        return max(0, self.head - self.position)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A generation with what answers from it."""

    generation: Generation
    retriever: Retriever
    answerer: Answerer
    generator: Generator


class Ragstone:
    """One tenant's collection with all that is needed to index it and to answer from it. Made by `open_ragstone`."""

    def __init__(self, settings: Settings, *, catalog: Catalog, index: Index, embedders: Embedders) -> None:
        self.settings = settings
        self.catalog = catalog
        self.index = index
        self.embedders = embedders
        self._serving: Serving | None = None
        self._next: asyncio.Task[Serving] | None = None  # on its way, while the former one goes on
        self._former: list[Generator] = []  # answers may still be coming from them
        self._seen = 0.0  # when the catalog last said what serves

    async def aclose(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
        if self._serving is not None:
            await self._serving.generator.aclose()
        for generator in self._former:
            await generator.aclose()
        if "upkeep" in self.__dict__:
            await self.upkeep.aclose()

    @cached_property
    def upkeep(self) -> Upkeep:
        """What writes to the collection; imported when it is needed, for a question must not wait for it."""
        from ragstone.upkeep import Upkeep

        return Upkeep(self.settings, catalog=self.catalog, index=self.index, embedders=self.embedders)

    async def caught_up(self, timeout: float) -> bool:
        """Wait until the index holds all that is published; False when it does not after `timeout` seconds."""
        return await self.index.wait(await self.catalog.head(), timeout)

    # --- answering ----------------------------------------------------------------------------------------------

    async def explain(
        self, question: str, retrieval: RetrievalSettings | None = None, where: Filter | None = None
    ) -> Retrieved:
        """What `answer` would draw from, with the account of the prompt as well; nothing is generated."""
        serving = await self._current()
        retrieval = retrieval or self.settings.retrieval
        where = await self._narrowed(where, serving.generation)
        scope = scope_of(serving.generation)
        return (await serving.answerer.prepare(question, scope, retrieval, self.settings.prompt, where))[0]

    async def search(
        self, question: str, retrieval: RetrievalSettings | None = None, where: Filter | None = None
    ) -> Retrieved:
        """Passages for a question, of documents that the filter lets through, with the account of every stage.

        Raises FilterError for a field that no document has.
        """
        serving = await self._current()
        where = await self._narrowed(where, serving.generation)
        scope = scope_of(serving.generation)
        return await serving.retriever.retrieve(question, scope, retrieval or self.settings.retrieval, where)

    async def answer(
        self, question: str, retrieval: RetrievalSettings | None = None, where: Filter | None = None
    ) -> AsyncGenerator[Event, None]:
        """Sources, Tokens and Done, as they come. Closing the iterator cancels what is under way."""
        serving = await self._current()
        retrieval = retrieval or self.settings.retrieval
        where = await self._narrowed(where, serving.generation)
        scope = scope_of(serving.generation)
        events = serving.answerer.answer(question, scope, retrieval, self.settings.prompt, where)
        async with aclosing(events):
            async for event in events:
                yield event
        await self._record(question)

    async def retriever(self) -> Retriever:
        """What finds passages in the serving generation."""
        return (await self._current()).retriever

    async def scope(self) -> Scope:
        """What this collection's searches may see."""
        return scope_of(await self.serving())

    async def serving(self) -> Generation:
        """The generation that answers. Another process's switch to a new one is noticed within NOTICED seconds.

        Raises NothingIndexed, or FingerprintMismatch when its model is not the one that it was built with.
        """
        return (await self._current()).generation

    async def _narrowed(self, where: Filter | None, generation: Generation) -> Filter | None:
        """A filter as a search of this collection takes it. Raises FilterError for a field that no document has."""
        if where is None:
            return None
        collection = await self.catalog.collection(generation.tenant, self.settings.collection)
        assert collection is not None  # its generation serves
        refuse_unknown(where, await self.catalog.fields(collection))
        return within(where, generation.tenant, collection.name)

    async def _current(self) -> Serving:
        if self._serving is None or time.monotonic() - self._seen > NOTICED:
            collection = await self.catalog.collection(self.settings.tenant, self.settings.collection)
            if collection is None or collection.serving is None:
                name = self.settings.collection
                raise NothingIndexed(f"collection {name!r} holds nothing yet", hint="`ragstone index PATH` fills it")
            self._serving = await self._switched(collection)
            await self.caught_up(0)  # lets the index know what it must not fall behind of
            self._seen = time.monotonic()
        return self._serving

    async def _switched(self, collection: Collection) -> Serving:
        """What serves now; the former goes on until the new one's model is there."""
        generation = await self._generation(collection)
        former = self._serving
        if former is not None and former.generation.id == generation.id:
            self._refuse_quarantine(generation)
            return former
        if self._next is None:
            self._next = asyncio.create_task(self._make(generation))
        if former is not None and not self._next.done():
            return former
        making = self._next
        await asyncio.wait([making])  # unlike awaiting it, leaves it to others when this caller is cancelled
        if self._next is making:
            self._next = None
        try:
            made = making.result()
        except RagstoneError as error:
            if former is None:
                raise
            logger.error("generation %s cannot serve, the former one goes on: %s", generation.id, error)
            return former
        if former is not None and former is self._serving:
            self._former.append(former.generator)
        return made

    async def _generation(self, collection: Collection) -> Generation:
        assert collection.serving is not None
        generation = await self.catalog.generation(collection.tenant, collection.serving)
        assert generation is not None  # a foreign key of the catalog sees to it
        return generation

    async def _make(self, generation: Generation) -> Serving:
        embedder = self.embedders.of(generation)
        self._refuse_quarantine(generation)
        if self.settings.drift.queries == "refuse":
            await fingerprint.check(await self.catalog.probes(generation.fingerprint), embedder)
        retriever = Retriever(
            embedder=embedder, index=self.index, reader=self.catalog, ef=breadth(self.settings.index, generation)
        )
        generator = make_generator(self.settings, embedder)
        answerer = Answerer(retriever=retriever, generator=generator)
        return Serving(generation=generation, retriever=retriever, answerer=answerer, generator=generator)

    def _refuse_quarantine(self, generation: Generation) -> None:
        if generation.quarantine is not None and self.settings.drift.queries == "refuse":
            raise FingerprintMismatch(
                f"the serving generation is in quarantine: {generation.quarantine}",
                hint="bring its model back, and `ragstone drift` lets it out; or set drift.queries to continue",
            )

    async def _record(self, question: str) -> None:
        if self.settings.questions.keep_hours:
            collection = await self.catalog.collection(self.settings.tenant, self.settings.collection)
            if collection is not None:
                await self.catalog.record_question(collection, question)

    # --- operating ----------------------------------------------------------------------------------------------

    async def lag(self) -> int:
        """Change-log entries that the index has not applied yet. Raises when catalog or index cannot be reached."""
        return max(0, await self.catalog.head() - await self.index.position())

    async def documents(self) -> int:
        """How many documents answers may come from; 0 before the first is indexed."""
        collection = await self.catalog.collection(self.settings.tenant, self.settings.collection)
        if collection is None or collection.serving is None:
            return 0
        return await self.catalog.count_documents(await self._generation(collection))

    async def status(self) -> Status:
        """How the collection and its index stand; needs no model and changes nothing."""
        collection = await self.catalog.collection(self.settings.tenant, self.settings.collection)
        serving = collection and collection.serving
        held = (await self.catalog.stats(collection)).generations if collection else ()
        return Status(
            collection=self.settings.collection,
            generation=await self.catalog.generation(self.settings.tenant, serving) if serving else None,
            stats=next((stats for stats in held if stats.generation == serving), None),
            position=await self.index.position(),
            head=await self.catalog.head(),
            queue=await self.catalog.queue.state(collection) if collection else None,
            failures=len(await self.catalog.failures(collection)) if collection else 0,
        )


@asynccontextmanager
async def open_ragstone(settings: Settings, *, watched: bool = False) -> AsyncIterator[Ragstone]:
    """Start or join what the settings name: PostgreSQL, the index process, the models. All is let go at the end.

    `watched`: some searches are repeated exactly, to know how much is found (settings.index.recall_sample).
    """
    async with AsyncExitStack() as stack:
        embedders = Embedders(settings)
        stack.push_async_callback(embedders.aclose)
        url = settings.database.url.get_secret_value() if settings.database.url else None
        if url is None:
            server = await asyncio.to_thread(embedded.start, settings.data_dir)
            stack.callback(server.stop)
            stack.push_async_callback(end, asyncio.create_task(_keep_running(server)))
        # Before the catalog: an index process starts while this one connects and migrates.
        made = make_index(settings, url or server.url, embedded=url is None)
        index = (
            Sampled(made, share=settings.index.recall_sample, alert=settings.index.recall_alert) if watched else made
        )
        stack.push_async_callback(index.aclose)
        catalog = await Catalog.open(
            url or server.url, pool_size=settings.database.pool_size, attached=attached(settings, made)
        )
        stack.push_async_callback(catalog.aclose)
        if (following := follower(settings, catalog, index)) is not None:
            stack.push_async_callback(end, asyncio.create_task(following))
        ragstone = Ragstone(settings, catalog=catalog, index=index, embedders=embedders)
        stack.push_async_callback(ragstone.aclose)
        yield ragstone


@asynccontextmanager
async def open_catalog(settings: Settings) -> AsyncIterator[Catalog]:
    """The catalog alone: no index is started or joined."""
    async with AsyncExitStack() as stack:
        url = settings.database.url.get_secret_value() if settings.database.url else None
        if url is None:
            server = await asyncio.to_thread(embedded.start, settings.data_dir)
            stack.callback(server.stop)
            url = server.url
        catalog = await Catalog.open(url, pool_size=settings.database.pool_size)
        stack.push_async_callback(catalog.aclose)
        yield catalog


def _watched(settings: Settings, index: Index) -> Sampled:
    return Sampled(index, share=settings.index.recall_sample, alert=settings.index.recall_alert)


async def _keep_running(server: embedded.EmbeddedPostgres) -> None:
    """Start PostgreSQL again when it was killed: the connections recover by themselves."""
    while True:
        await asyncio.sleep(WATCH)
        try:
            await asyncio.to_thread(server.revive)
        except CatalogError as error:
            logger.warning("%s; %s", error, error.hint)
