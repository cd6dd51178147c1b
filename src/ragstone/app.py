"""The composition root: the one file that names concrete classes, and the door that CLI and API go through."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragstone.answering import Answerer, Event
from ragstone.catalog import embedded
from ragstone.catalog.catalog import Catalog
from ragstone.catalog.reading import GenerationStats
from ragstone.embedding import fingerprint
from ragstone.embedding.base import Embedder
from ragstone.errors import CatalogError, IndexUnavailable, NothingIndexed, SettingsError, SourceError
from ragstone.generation.base import Generator
from ragstone.index.applier import Applier
from ragstone.index.base import Index
from ragstone.index.edge.client import EdgeIndex
from ragstone.index.exact import ExactIndex
from ragstone.indexing.pipeline import Indexer
from ragstone.indexing.report import Progress, Report
from ragstone.models import Collection, Generation, Scope, Vectors
from ragstone.retrieval.pipeline import Retrieved, Retriever
from ragstone.settings import (
    EmbeddingSettings,
    FolderSource,
    ObjectStoreSource,
    RetrievalSettings,
    Settings,
    SqlSource,
    WebSource,
)
from ragstone.settings import Source as SourceSettings
from ragstone.sources.base import Source

logger = logging.getLogger(__name__)

WATCH = 1.0  # seconds between looks at the embedded PostgreSQL
NOTICED = 1.0
REBUILD = 3600.0  # seconds that an index may take to follow a reindex
REINDEX = "`ragstone reindex` builds a new generation with the present settings and then switches to it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the present collection stands."""

    collection: str
    generation: Generation | None  # the serving one
    stats: GenerationStats | None  # what it holds
    position: int  # of the index
    head: int  # of the change log

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


class Ragstone:
    """One tenant's collection with all that is needed to index it and to answer from it. Made by `open`."""

    def __init__(
        self, settings: Settings, *, catalog: Catalog, index: Index, embedder: Embedder, generator: Generator
    ) -> None:
        self.settings = settings
        self.catalog = catalog
        self.index = index
        self.embedder = embedder
        self.retriever = Retriever(embedder=embedder, index=index, reader=catalog)
        self._answerer = Answerer(retriever=self.retriever, generator=generator)
        self._serving: Generation | None = None
        self._seen = 0.0  # when the catalog last said that it serves

    # --- indexing -----------------------------------------------------------------------------------------------

    async def sync(self, source: Source, progress: Progress, *, allow_empty: bool = False) -> Report:
        """Bring the serving generation up to date with a source; the first run makes the first generation."""
        collection = await self.catalog.ensure_collection(self.settings.tenant, self.settings.collection)
        generation = await self._writable(collection)
        return await self._sync_into(collection, generation, source, progress, allow_empty=allow_empty)

    async def reindex(self, progress: Progress, *, accept_loss: bool = False) -> dict[str, Report]:
        """Build a new generation with the present settings from every source synced so far, then switch to it.

        Questions are answered from the old one meanwhile. The switch does not happen when a source fails or lists
        nothing, nor when a document that is served now cannot be read any more, unless `accept_loss`.
        """
        collection = await self.catalog.ensure_collection(self.settings.tenant, self.settings.collection)
        names = [record.name for record in await self.catalog.sources(collection)]
        if not names:
            raise NothingIndexed("there is no source to build from", hint="`ragstone index PATH` adds one")
        generation = await self._new_generation(collection)
        if generation.id == collection.serving:
            raise SettingsError(
                "the collection was built with the present settings", hint="`ragstone index` follows changed documents"
            )
        reports = {n: await self._sync_into(collection, generation, self.source(n), progress) for n in names}
        gone = await self._compare(collection, generation, reports, accept_loss)
        if not await self.caught_up(REBUILD):
            raise IndexUnavailable(f"the index did not catch up in {REBUILD:.0f} s", hint="see `ragstone status`")
        await self._serve(generation)
        await self.catalog.delete(collection, gone)
        return reports

    async def _compare(
        self, collection: Collection, generation: Generation, reports: Mapping[str, Report], accept_loss: bool
    ) -> list[str]:
        """The documents that are served now and that their sources have no more. Raises SourceError."""
        if empty := [name for name, report in reports.items() if not report.listed]:
            raise SourceError(
                f"{', '.join(empty)} lists nothing: the old generation goes on serving",
                hint="`ragstone forget NAME` removes a source for good",
            )
        serving = collection.serving and await self.catalog.generation(collection.tenant, collection.serving)
        served = await self.catalog.states(serving) if serving else {}
        unread = {skip.uri for report in reports.values() for skip in report.skipped}
        if (lost := sorted(unread & served.keys())) and not accept_loss:
            raise SourceError(
                f"{len(lost)} documents that are served now cannot be read: {', '.join(lost[:3])} …; the old "
                "generation goes on serving",
                hint="mend them, or switch without them by --accept-loss",
            )
        return sorted(served.keys() - (await self.catalog.states(generation)).keys())

    async def forget(self, name: str) -> int:
        """Remove a source and its documents, which are in no answer from then on. Returns how many there were."""
        collection = await self.catalog.ensure_collection(self.settings.tenant, self.settings.collection)
        known = {record.name for record in await self.catalog.sources(collection)}
        source = name if name in known else _path_name(name)
        if source not in known:
            raise SourceError(f"no source is called {name}", hint=f"known: {', '.join(sorted(known)) or 'none'}")
        states = [await self.catalog.states(g) for g in await self.catalog.generations(collection)]
        own = {uri for documents in states for uri, state in documents.items() if state.source == source}
        await self.catalog.delete(collection, sorted(own))
        await self.catalog.forget_source(collection, source)
        return len(own)

    def source(self, name: str) -> Source:
        """A source of ragstone.toml by its name, or the folder or file at a path. Raises SourceError."""
        configured = self.settings.sources.get(name)
        if configured is None and not Path(name).exists():
            known = ", ".join(self.settings.sources) or "none"
            raise SourceError(
                f"{name}: no such file or folder, and no source of that name",
                hint=f"sources in ragstone.toml: {known}; `ragstone forget` removes one that is gone for good",
            )
        return make_source(name if configured else _path_name(name), configured or FolderSource(path=Path(name)))

    async def caught_up(self, timeout: float) -> bool:
        """Wait until the index holds all that is published; False when it does not after `timeout` seconds."""
        return await self.index.wait(await self.catalog.head(), timeout)

    async def _sync_into(
        self,
        collection: Collection,
        generation: Generation,
        source: Source,
        progress: Progress,
        *,
        allow_empty: bool = False,
    ) -> Report:
        from ragstone.chunking.make import make_chunker

        loop = asyncio.get_running_loop()

        def embed(texts: Sequence[str]) -> Vectors:
            """For a chunker, which runs in a thread."""
            return asyncio.run_coroutine_threadsafe(self.embedder.embed(texts, "live"), loop).result()

        indexer = Indexer(
            catalog=self.catalog,
            collection=collection,
            generation=generation,
            embedder=self.embedder,
            chunker=make_chunker(self.settings.chunking, self.embedder.count, self.embedder.max_tokens, embed),
            max_bytes=self.settings.parsing.max_bytes,
        )
        report = await indexer.sync(source, progress, allow_empty=allow_empty)
        await self.catalog.record_source(collection, source.name, source.prefix)
        return report

    async def _writable(self, collection: Collection) -> Generation:
        """The serving generation, which must have been built with the present settings, or a first one."""
        if collection.serving is None:
            generation = await self._new_generation(collection)
            await self._serve(generation)
            return generation
        generation = await self.serving()
        if generation.settings != self._generation_settings():
            raise SettingsError(
                "the chunking settings (or the parser) are not those that the collection was built with", hint=REINDEX
            )
        return generation

    async def _serve(self, generation: Generation) -> None:
        await self.catalog.serve(generation)
        self._serving = None  # this process notices at once

    async def _new_generation(self, collection: Collection) -> Generation:
        probes = await fingerprint.probe(self.embedder)
        generation = await self.catalog.create_generation(
            collection, self.embedder.fingerprint, probes, self._generation_settings()
        )
        # Another collection may have stored this fingerprint, from a model that has changed since.
        await fingerprint.check(await self.catalog.probes(generation.fingerprint), self.embedder)
        return generation

    def _generation_settings(self) -> dict[str, Any]:
        from ragstone.parsing.parse import PARSER_VERSION

        return {"parser": PARSER_VERSION, "chunking": self.settings.chunking.model_dump(mode="json")}

    # --- answering ----------------------------------------------------------------------------------------------

    async def explain(self, question: str, retrieval: RetrievalSettings | None = None) -> Retrieved:
        """What `answer` would draw from, with the account of the prompt as well; nothing is generated."""
        retrieval = retrieval or self.settings.retrieval
        return (await self._answerer.prepare(question, await self.scope(), retrieval, self.settings.prompt))[0]

    async def search(self, question: str, retrieval: RetrievalSettings | None = None) -> Retrieved:
        """Passages for a question, with the account of every stage."""
        return await self.retriever.retrieve(question, await self.scope(), retrieval or self.settings.retrieval)

    async def answer(self, question: str, retrieval: RetrievalSettings | None = None) -> AsyncGenerator[Event, None]:
        """Sources, Tokens and Done, as they come. Closing the iterator cancels what is under way."""
        events = self._answerer.answer(
            question, await self.scope(), retrieval or self.settings.retrieval, self.settings.prompt
        )
        async with aclosing(events):
            async for event in events:
                yield event

    async def scope(self) -> Scope:
        """What this collection's searches may see."""
        generation = await self.serving()
        return Scope(tenant=generation.tenant, generation=generation.id, fingerprint=generation.fingerprint.digest)

    async def serving(self) -> Generation:
        """The generation that answers. Another process's switch to a new one is noticed within NOTICED seconds.

        Raises NothingIndexed, or FingerprintMismatch when the model at hand is not the one it was built with.
        """
        if self._serving is None or time.monotonic() - self._seen > NOTICED:
            name = self.settings.collection
            collection = await self.catalog.collection(self.settings.tenant, name)
            if collection is None or collection.serving is None:
                raise NothingIndexed(f"collection {name!r} holds nothing yet", hint="`ragstone index PATH` fills it")
            if self._serving is None or self._serving.id != collection.serving:
                self._serving = await self._verify(collection)
            await self.caught_up(0)  # lets the index know what it must not fall behind of
            self._seen = time.monotonic()
        return self._serving

    async def _verify(self, collection: Collection) -> Generation:
        assert collection.serving is not None
        generation = await self.catalog.generation(collection.tenant, collection.serving)
        assert generation is not None  # a foreign key of the catalog sees to it
        fingerprint.compare(generation.fingerprint, self.embedder.fingerprint)
        await fingerprint.check(await self.catalog.probes(generation.fingerprint), self.embedder)
        return generation

    # --- operating ----------------------------------------------------------------------------------------------

    async def lag(self) -> int:
        """Change-log entries that the index has not applied yet. Raises when catalog or index cannot be reached."""
        return max(0, await self.catalog.head() - await self.index.position())

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
        )


def _path_name(path: str) -> str:
    """The name of a source that is only known by its path."""
    return str(Path(path).resolve())


@asynccontextmanager
async def open_ragstone(settings: Settings) -> AsyncIterator[Ragstone]:
    """Start or join what the settings name: PostgreSQL, the index process, the models. All is let go at the end."""
    async with AsyncExitStack() as stack:
        embedder = make_embedder(settings.embedding, settings.cache_dir)
        stack.push_async_callback(embedder.aclose)
        url = settings.database.url.get_secret_value() if settings.database.url else None
        if url is None:
            server = await asyncio.to_thread(embedded.start, settings.data_dir)
            stack.callback(server.stop)
            stack.push_async_callback(_cancel, asyncio.create_task(_keep_running(server)))
        index = await stack.enter_async_context(_open_index(settings, url))
        catalog = await Catalog.open(url or server.url, pool_size=settings.database.pool_size)
        stack.push_async_callback(catalog.aclose)
        if isinstance(index, ExactIndex):
            stack.push_async_callback(_cancel, asyncio.create_task(Applier(catalog, index).run()))
        generator = make_generator(settings, embedder)
        stack.push_async_callback(generator.aclose)
        yield Ragstone(settings, catalog=catalog, index=index, embedder=embedder, generator=generator)


@asynccontextmanager
async def _open_index(settings: Settings, url: str | None) -> AsyncIterator[Index]:
    """Comes before the catalog: its process starts while this one connects and migrates."""
    index: Index
    if settings.index.engine == "exact":
        index = ExactIndex()
    else:
        index = EdgeIndex.open(settings.data_dir, url, ef=settings.index.ef, linger=settings.index.linger)
    try:
        yield index
    finally:
        await index.aclose()


def make_source(name: str, settings: SourceSettings) -> Source:
    """A source by its settings. Raises SourceError when an extra is not installed."""
    match settings:
        case SqlSource():
            from ragstone.sources.sql import SqlTable

            return SqlTable(name, settings)
        case WebSource():
            from ragstone.sources.web import WebPages

            return WebPages(name, settings)
        case ObjectStoreSource():
            try:
                from ragstone.sources.object_store import ObjectStorage
            except ImportError:
                hint = "pip install 'ragstone[object-store]'"
                raise SourceError(f"source {name}: obstore is not installed", hint=hint) from None
            return ObjectStorage(name, settings)
        case FolderSource():
            from ragstone.sources.folder import Folder

            return Folder(name, settings)


def make_embedder(chosen: EmbeddingSettings, cache_dir: Path | None) -> Embedder:
    """The embedder that the settings name. Its model is loaded when it is first needed."""
    if chosen.provider == "openai":
        from ragstone.embedding.limiter import Limiter
        from ragstone.embedding.openai import OpenAIEmbedder

        return OpenAIEmbedder(
            model=chosen.model,
            revision=chosen.revision,
            query_prefix=chosen.query_prefix or "",
            document_prefix=chosen.document_prefix or "",
            dimensions=chosen.dimensions,
            max_tokens=chosen.max_tokens,
            price=chosen.price,
            base_url=chosen.base_url,
            api_key=chosen.api_key.get_secret_value() if chosen.api_key else None,
            batch_size=chosen.batch_size,
            limiter=Limiter(chosen.requests_per_minute, chosen.tokens_per_minute),
        )
    from ragstone.embedding.local import LocalEmbedder

    return LocalEmbedder.open(
        chosen.model,
        cache_dir,
        chosen.precision,
        chosen.threads,
        revision=chosen.revision,
        query_prefix=chosen.query_prefix,
        document_prefix=chosen.document_prefix,
    )


def make_generator(settings: Settings, embedder: Embedder) -> Generator:
    """The generator that the settings name."""
    if settings.generation.provider == "openai":
        from ragstone.generation.openai import OpenAIGenerator

        return OpenAIGenerator(settings.generation)
    from ragstone.generation.extractive import ExtractiveGenerator

    return ExtractiveGenerator(settings.generation, embedder)


async def _keep_running(server: embedded.EmbeddedPostgres) -> None:
    """Start PostgreSQL again when it was killed: the connections recover by themselves."""
    while True:
        await asyncio.sleep(WATCH)
        try:
            await asyncio.to_thread(server.revive)
        except CatalogError as error:
            logger.warning("%s; %s", error, error.hint)


async def _cancel(task: asyncio.Task[None]) -> None:
    """Until it has ended: `wait_for` of Python 3.11, which the connection pool uses, may swallow a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
