"""A collection's generations: made, compared, served, checked, rolled back, let go."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ragstone.catalog.catalog import Catalog
from ragstone.catalog.sweeping import Swept
from ragstone.embedding import fingerprint
from ragstone.errors import FingerprintMismatch, ModelError, NothingIndexed, RagstoneError, SettingsError
from ragstone.evaluation.comparison import Comparison, Origin, Question, Side, compare
from ragstone.index.base import Index
from ragstone.indexing import drift
from ragstone.models import Collection, Generation, Scope, scope_of
from ragstone.parsing.parse import PARSER_VERSION
from ragstone.parts import Embedders, breadth
from ragstone.retrieval.pipeline import Retriever
from ragstone.settings import ChunkingSettings, Settings

BUILDING = "reindex"
"""What a process does alone that builds a generation."""

logger = logging.getLogger(__name__)


class Generations:
    """Those of one tenant's collection."""

    def __init__(self, settings: Settings, *, catalog: Catalog, index: Index, embedders: Embedders) -> None:
        self._settings = settings
        self._catalog = catalog
        self._index = index
        self._embedders = embedders

    async def collection(self) -> Collection:
        """The collection, made if it is not there."""
        return await self._catalog.ensure_collection(self._settings.tenant, self._settings.collection)

    async def ready(self) -> Collection:
        """The collection, with a generation that serves, and every model compared with its probes.

        A generation beside the serving one whose model cannot be had is put in quarantine, so that the others go on.
        """
        collection = await self.collection()
        if collection.serving is None:
            await self._catalog.serve(await self.create(collection))
            return await self.collection()
        for generation in await self._catalog.generations(collection):
            try:
                await drift.check(self._catalog, generation, self._embedders.of)
            except (ModelError, SettingsError) as error:
                if generation.id == collection.serving:
                    raise
                await self._catalog.record_check(generation, f"its model cannot be had: {error}")
        return collection

    async def serving(self, collection: Collection) -> Generation | None:
        """The generation that answers."""
        return await self._catalog.generation(collection.tenant, collection.serving) if collection.serving else None

    def differences(self, generation: Generation) -> str:
        """In which settings a generation differs from the present ones, in words; empty when it does not."""
        built = ChunkingSettings(**generation.settings["chunking"]).model_dump()
        present = self._settings.chunking.model_dump()
        pairs = [f"{name} = {built[name]}" for name in built if built[name] != present[name]]
        if generation.settings["parser"] != PARSER_VERSION:
            pairs.append(f"version {generation.settings['parser']} of the parser")
        if generation.fingerprint.digest != self._embedders.present.fingerprint.digest:
            pairs.append(f"the model {generation.fingerprint.spec.get('model')}")
        return ", ".join(pairs)

    async def create(self, collection: Collection) -> Generation:
        """The generation of the present settings."""
        embedder = self._embedders.present
        generation = await self._catalog.create_generation(
            collection,
            embedder.fingerprint,
            await fingerprint.probe(embedder),
            {"parser": PARSER_VERSION, "chunking": self._settings.chunking.model_dump(mode="json")},
            self._settings.embedding.model_dump(mode="json", exclude={"api_key"}),
        )
        # Another collection may have stored this fingerprint, from a model that has changed since.
        await fingerprint.check(await self._catalog.probes(generation.fingerprint), embedder)
        await self._catalog.record_check(generation, None)
        return generation

    async def of_present_settings(self, collection: Collection) -> Generation | None:
        """The generation that was built with the present settings, if there is one."""
        generations = await self._catalog.generations(collection)
        return next((g for g in generations if not self.differences(g)), None)

    async def rollback(self) -> Generation:
        """Let the generation that served before serve again.

        Raises NothingIndexed when there is none, and FingerprintMismatch when it is in quarantine.
        """
        collection = await self.collection()
        generations = {g.id: g for g in await self._catalog.generations(collection)}
        previous = generations.get(collection.previous) if collection.previous else None
        if previous is None:
            raise NothingIndexed(
                "there is no former generation to go back to", hint="`ragstone generations` lists what there is"
            )
        if previous.quarantine is not None:
            raise FingerprintMismatch(
                f"the former generation is in quarantine: {previous.quarantine}",
                hint="bring its model back, and `ragstone drift` lets it out",
            )
        await self._catalog.serve(previous)
        return previous

    async def gc(self, *, everything: bool = False) -> Swept:
        """Let go of what nothing needs: generations past their time, unused vectors, old history and tombstones.

        `everything`: all generations that do not serve, whatever their age.
        """
        collection = await self.collection()
        kept = self._settings.indexing
        dropped = 0
        for generation in await self._expired(collection, everything=everything):
            if await self._catalog.drop(collection, generation):
                await self._let_go(scope_of(generation))
                dropped += 1
        swept = await self._catalog.sweep(
            collection,
            history=kept.history_hours,
            tombstones=kept.tombstone_hours,
            questions=self._settings.questions.keep_hours,
        )
        return replace(swept, generations=dropped)

    async def _let_go(self, scope: Scope) -> None:
        """At once, where the change log would take a while; not if a reindex has made the generation anew by now."""
        async with self._catalog.auditing.unheld(scope) as unheld:
            if unheld:
                await self._index.drop(scope)

    async def check_drift(self) -> list[tuple[Generation, str | None]]:
        """Compare every generation's model with its stored probes; what deviates is put in quarantine, or let out.

        Raises ProviderError or ModelError when a model cannot be asked, after the others were.
        """
        found: list[tuple[Generation, str | None]] = []
        failed: RagstoneError | None = None
        for generation in await self._catalog.generations(await self.collection()):
            try:
                found.append((generation, await drift.check(self._catalog, generation, self._embedders.of)))
            except RagstoneError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return found

    async def _expired(self, collection: Collection, *, everything: bool) -> list[Generation]:
        """Generations that do not serve, and that nobody will go back to."""
        serving = await self.serving(collection)
        building = await self._catalog.at_work(collection, BUILDING)  # it may take longer than `standby_hours`
        others = [
            g
            for g in await self._catalog.generations(collection)
            if g.id != collection.serving and not (building and g.served_at is None)
        ]
        if everything or serving is None or serving.served_at is None:
            return others if everything else []
        standby = timedelta(hours=self._settings.indexing.standby_hours)
        replaced = serving.served_at  # whatever served before ended then; what was built later is still wanted
        now = datetime.now(UTC)
        return [g for g in others if now - max(replaced, g.created_at) > standby]

    # --- comparing ----------------------------------------------------------------------------------------------

    async def lost(self, before: Generation, after: Generation) -> list[str]:
        """Documents that are served now and that could not be put into the new generation."""
        return sorted((await self._catalog.states(before)).keys() - (await self._catalog.states(after)).keys())

    async def compare(self, before: Generation, after: Generation, given: Sequence[Question]) -> Comparison:
        """Put questions to both: the given ones, or a sample of what was asked, or headings."""
        bar = self._settings.reindex
        origin: Origin = "given"
        questions = given
        if not given:
            origin, questions = await self._sampled(after, bar.questions)
        sides = self._side(before), self._side(after)
        return await compare(*sides, questions, origin, self._settings.retrieval, bar.k)

    async def _sampled(self, generation: Generation, limit: int) -> tuple[Origin, Sequence[Question]]:
        collection = await self.collection()
        asked = await self._catalog.questions(collection, limit)
        headings = await self._catalog.headings(generation, limit) if len(asked) * 2 < limit else []
        if not headings:
            return "asked", [Question(text=text) for text in asked]
        return "headings", [Question(text=" ".join(path[-2:]), relevant={uri: 1}) for uri, path in headings]

    def _side(self, generation: Generation) -> Side:
        retriever = Retriever(
            embedder=self._embedders.of(generation),
            index=self._index,
            reader=self._catalog,
            ef=breadth(self._settings.index, generation),
        )
        return Side(retriever=retriever, scope=scope_of(generation))
