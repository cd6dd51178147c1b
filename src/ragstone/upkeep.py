"""All that changes a collection: passes over sources, workers, generations, and what keeps them in order."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ragstone.catalog.catalog import Catalog
from ragstone.errors import IndexUnavailable, NothingIndexed, RagstoneError, SettingsError, SourceError
from ragstone.evaluation.comparison import Comparison, Question
from ragstone.generations import BUILDING, Generations
from ragstone.index.base import Index
from ragstone.indexing.auditing import index_name, keep_auditing
from ragstone.indexing.follow import AGAIN, Follower
from ragstone.indexing.pipeline import Pipeline
from ragstone.indexing.plan import Plan, Planner
from ragstone.indexing.push import Push
from ragstone.indexing.report import Progress, Report, Tally
from ragstone.indexing.sync import Sync
from ragstone.indexing.worker import LOOK, Notice, Worker
from ragstone.models import Collection, Generation, Skip, collection_id
from ragstone.parsing.isolated import ParserPool
from ragstone.parsing.parse import PARSER_VERSION
from ragstone.parts import Embedders, Recipes, make_recipe, make_source
from ragstone.settings import Settings
from ragstone.source_settings import FolderSource
from ragstone.sources.base import Source

logger = logging.getLogger(__name__)

REBUILD = 3600.0  # seconds that an index may take to follow a reindex
SWEEP = 3600.0  # seconds between sweeps by a process that keeps up


@dataclass(frozen=True, slots=True, kw_only=True)
class Reindexed:
    """How a reindex went. `objections` say why the new generation does not serve; empty when it does."""

    generation: Generation
    reports: Mapping[str, Report]
    comparison: Comparison | None  # None: nothing served before, or its model is not what it was
    objections: Sequence[str]


class Upkeep:
    """Everything that writes to one tenant's collection."""

    def __init__(self, settings: Settings, *, catalog: Catalog, index: Index, embedders: Embedders) -> None:
        self._settings = settings
        self._catalog = catalog
        self._index = index
        self._embedders = embedders
        self.generations = Generations(settings, catalog=catalog, index=index, embedders=embedders)
        self._parsers = ParserPool(settings.parsing, settings.parsing.workers)
        self._told = ""  # differences that were warned of: once is enough

    async def aclose(self) -> None:
        await self._parsers.aclose()

    # --- sources ------------------------------------------------------------------------------------------------

    def source(self, name: str) -> Source:
        """A source of ragstone.toml by its name, or the folder or file at a path. Raises SourceError."""
        configured = self._settings.sources.get(name)
        if configured is None and not Path(name).exists():
            known = ", ".join(self._settings.sources) or "none"
            raise SourceError(
                f"{name}: no such file or folder, and no source of that name",
                hint=f"sources in ragstone.toml: {known}; `ragstone forget` removes one that is gone for good",
            )
        tenant, collection = self._settings.tenant, self._settings.collection
        known_as = Collection(id=collection_id(tenant, collection), tenant=tenant, name=collection, serving=None)
        settings = configured or FolderSource(path=Path(name))
        return make_source(name if configured else path_name(name), settings, self._catalog, known_as)

    async def push(self, name: str) -> Push:
        """A source of kind push, ready to be sent documents. Raises SourceError."""
        collection = await self.generations.collection()
        source = self.source(name)
        if not isinstance(source, Push):
            raise SourceError(f"{name} is no push source", hint=f'[sources.{name}] with kind = "push" makes one')
        await self._catalog.record_source(collection, source.name, source.prefix)  # a reindex is to include it
        return source

    async def forget(self, name: str) -> int:
        """Remove a source and its documents, which are in no answer from then on. Returns how many there were.

        A pass over it and documents of it that are worked on are waited for.
        """
        collection = await self.generations.collection()
        known = {record.name for record in await self._catalog.sources(collection)}
        source = name if name in known else path_name(name)
        if source not in known:
            raise SourceError(f"no source is called {name}", hint=f"known: {', '.join(sorted(known)) or 'none'}")
        async with self._catalog.alone(collection, source):
            while await self._catalog.queue.withdraw(collection, source):  # what runs would bring a document back
                await self._catalog.queue.take_back(collection)
                await asyncio.sleep(LOOK)
            return await self._forget(collection, source)

    async def _forget(self, collection: Collection, source: str) -> int:
        states = [await self._catalog.states(g) for g in await self._catalog.generations(collection)]
        own = {uri for documents in states for uri, state in documents.items() if state.source == source}
        failed = [failure.uri for failure in await self._catalog.failures(collection, source)]
        await self._catalog.pushed.forget(collection, source)
        await self._catalog.delete(collection, sorted(own))
        await self._catalog.clear_failures(collection, failed)
        await self._catalog.forget_source(collection, source)
        return len(own)

    # --- indexing -----------------------------------------------------------------------------------------------

    async def sync(self, source: Source, progress: Progress, *, allow_empty: bool = False) -> Report:
        """One pass over a source, and all that it finds to do, done. The first run makes the first generation.

        Raises SourceError when the source as a whole cannot be read, and what would stop every document: ProviderError,
        CatalogUnavailable, ModelError, FingerprintMismatch. What is published by then stays, the rest waits in the
        queue.
        """
        collection = await self.generations.ready()
        await self._tell_differences(collection)
        return await self._pass(collection, source, progress, allow_empty=allow_empty)

    async def _pass(
        self, collection: Collection, source: Source, progress: Progress, *, allow_empty: bool = False
    ) -> Report:
        report = Report()
        before = self._embedders.usage()
        enqueued = await self._sync(collection).scan(source, report, allow_empty=allow_empty)
        progress(report)
        tally = Tally(report, progress, enqueued)
        await self._worker(collection, [source], tally).drain()
        used = self._embedders.usage()
        report.tokens, report.money = used.tokens - before.tokens, used.money - before.money
        report.skipped = await self._skipped(collection, source)
        tally.close(await self._catalog.head())
        return report

    async def keep_up(self, names: Sequence[str] | None = None, *, notice: Notice | None = None) -> None:
        """Follow sources (all of ragstone.toml, unless named) and work on the queue until cancelled."""
        collection = await self.generations.ready()
        await self._tell_differences(collection)
        sources = [self.source(name) for name in (self._settings.sources if names is None else names)]
        sync = self._sync(collection)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._worker(collection, sources, notice).run())
            tasks.create_task(self._keep_checking(collection))
            tasks.create_task(self._keep_sweeping(collection))
            if hours := self._settings.index.audit_hours:
                name = index_name(self._settings)
                tasks.create_task(keep_auditing(self._catalog, self._index, name, timedelta(hours=hours)))
            for source in sources:
                tasks.create_task(Follower(sync, source, self._settings.indexing.every).run())

    async def plan(self, progress: Progress, *, sample: int) -> Plan:
        """What a reindex with the present settings would have to do; changes nothing."""
        collection = await self._catalog.collection(self._settings.tenant, self._settings.collection)
        records = await self._catalog.sources(collection) if collection else []
        names = [record.name for record in records] or list(self._settings.sources)  # what a reindex goes over
        embedder = self._embedders.present
        settings = {"chunking": self._settings.chunking.model_dump(mode="json")}
        generation = Generation(
            id=collection_id("", ""),
            tenant=self._settings.tenant,
            collection=collection_id(self._settings.tenant, self._settings.collection),
            fingerprint=embedder.fingerprint,
            settings=settings,
            embedding={},
            created_at=datetime.now(UTC),
        )
        planner = Planner(
            catalog=self._catalog,
            parser=self._parsers,
            recipe=make_recipe(generation, embedder),
            present=await self.generations.of_present_settings(collection) if collection else None,
            max_bytes=self._settings.parsing.max_bytes,
        )
        return await planner.plan([self.source(name) for name in names], sample, progress)

    # --- generations --------------------------------------------------------------------------------------------

    async def reindex(
        self,
        progress: Progress,
        *,
        questions: Sequence[Question] = (),
        accept_loss: bool = False,
        force: bool = False,
    ) -> Reindexed:
        """Build a generation with the present settings beside the serving one, compare the two, switch if it passes.

        Questions are answered from the old one meanwhile, and changes of documents go to both. What an earlier,
        interrupted run has built is kept. `questions` are asked of both generations; without any, those of the record,
        or headings. `force` switches whatever the comparison says, `accept_loss` although a document that is served
        now cannot be read any more. Another reindex of the collection is waited for.
        """
        collection = await self.generations.collection()
        async with self._catalog.alone(collection, BUILDING):
            return await self._reindex(progress, questions, accept_loss=accept_loss, force=force)

    async def _reindex(
        self, progress: Progress, questions: Sequence[Question], *, accept_loss: bool, force: bool
    ) -> Reindexed:
        collection = await self.generations.collection()
        records = await self._catalog.sources(collection)
        if not records:
            raise NothingIndexed("there is no source to build from", hint="`ragstone index PATH` adds one")
        generation = await self.generations.create(collection)
        if generation.id == collection.serving:
            raise SettingsError(
                "the collection was built with the present settings", hint="`ragstone index` follows changed documents"
            )
        await self.generations.ready()
        reports = {r.name: await self._pass(collection, self.source(r.name), progress) for r in records}
        if not await self._caught_up(REBUILD):
            raise IndexUnavailable(f"the index did not catch up in {REBUILD:.0f} s", hint="see `ragstone status`")
        before = await self.generations.serving(collection)
        lost = await self.generations.lost(before, generation) if before else []
        objections = [] if accept_loss or not lost else [_loss(lost)]
        comparable = before is not None and before.quarantine is None
        comparison = await self.generations.compare(before, generation, questions) if before and comparable else None
        if comparison and not force:
            objections += comparison.objections(self._settings.reindex)
        if not objections:
            await self._catalog.serve(generation)
        return Reindexed(generation=generation, reports=reports, comparison=comparison, objections=objections)

    # --- what the above are made of -----------------------------------------------------------------------------

    async def _tell_differences(self, collection: Collection) -> None:
        serving = await self.generations.serving(collection)
        differences = self.generations.differences(serving) if serving else ""
        if differences and differences != self._told:
            self._told = differences
            logger.warning(
                "the collection goes on as it was built, with %s; `ragstone reindex` builds it anew as it is set now",
                differences,
            )

    def _digest(self) -> str:
        """Of all that decides whether a document can be read."""
        read = [PARSER_VERSION, self._settings.parsing.model_dump(mode="json", exclude={"workers"})]
        return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:16]

    def _sync(self, collection: Collection) -> Sync:
        return Sync(catalog=self._catalog, collection=collection, digest=self._digest())

    def _worker(self, collection: Collection, sources: Sequence[Source], notice: Notice | None) -> Worker:
        pipeline = Pipeline(
            catalog=self._catalog,
            collection=collection,
            recipes=Recipes(self._catalog, collection, self._embedders),
            parser=self._parsers,
            max_bytes=self._settings.parsing.max_bytes,
        )
        given = {source.name: source for source in sources}
        return Worker(
            pipeline,
            lambda name: given.get(name) or given.setdefault(name, self.source(name)),
            concurrency=self._settings.indexing.concurrency,
            attempts=self._settings.indexing.attempts,
            digest=self._digest(),
            notice=notice,
        )

    async def _skipped(self, collection: Collection, source: Source) -> list[Skip]:
        """What is not indexed of a source: for good, or until the next try."""
        failures = await self._catalog.failures(collection, source.name)
        skips = [Skip(uri=f.uri, code=f.code, reason=f.reason, hint=f.hint) for f in failures]
        jobs = await self._catalog.queue.jobs(collection)
        again = [j for j in jobs if j.source == source.name and j.error and not j.running]
        return skips + [Skip(uri=j.uri, code="unavailable", reason=f"{j.error}; it is tried again") for j in again]

    async def _caught_up(self, timeout: float) -> bool:
        return await self._index.wait(await self._catalog.head(), timeout)

    async def _keep_checking(self, collection: Collection) -> None:
        while True:
            try:
                await self.generations.check_drift()
            except RagstoneError as error:
                logger.warning("the models cannot be checked: %s", error)
            await asyncio.sleep(self._settings.drift.every)

    async def _keep_sweeping(self, collection: Collection) -> None:
        """One process does it for all."""
        while True:
            try:
                async with self._catalog.alone(collection, "keep sweeping") as still_alone:
                    while True:
                        await asyncio.sleep(SWEEP)
                        await still_alone()
                        await self.generations.gc()
            except RagstoneError as error:
                logger.warning("nothing was swept: %s", error)
            await asyncio.sleep(AGAIN)


def path_name(path: str) -> str:
    """The name of a source that is only known by its path."""
    return str(Path(path).resolve())


def _loss(lost: Sequence[str]) -> str:
    return (
        f"{len(lost)} documents that are served now cannot be read: {', '.join(lost[:3])}"
        f"{' …' if len(lost) > 3 else ''}; mend them, or switch without them by --accept-loss"
    )
