"""Whatever happens to a catalog, to an index and to what feeds it: in the end the index is what the catalog says."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from catalog.material import generation, vector, version
from contracts.points import scanned, scores
from index.processes import opened, process_of
from ragstone.catalog.catalog import Catalog
from ragstone.errors import GenerationDropped, IndexUnavailable
from ragstone.generations import Generations
from ragstone.index.applier import Applier, follow_alone
from ragstone.index.audit import Auditor
from ragstone.index.base import Index
from ragstone.index.exact import ExactIndex
from ragstone.index.filters import Filter, In, Range
from ragstone.index.pgvector import PgvectorIndex
from ragstone.indexing.tasks import end
from ragstone.models import Collection, Generation, scope_of
from ragstone.parts import Embedders
from ragstone.settings import IndexingSettings, Settings

SETTINGS = Settings(tenant="acme", collection="handbook", indexing=IndexingSettings(history_hours=0))
SEED = int(os.environ.get("FOLLOWING_SEED", "1"))
STEPS = 40  # of each of those that write
URIS = [f"file:///{n}" for n in range(12)]
WORDS = ["fox", "owl", "newt", "heron"]


@dataclass(frozen=True, kw_only=True)
class Following:
    """An index and what it follows. `disturb` ends what feeds it, in the middle of whatever it does."""

    catalogs: list[Catalog]  # as several processes have them, with the index attached or not
    index: Index
    disturb: Callable[[], Awaitable[None]]


@dataclass
class Writer:
    """Does to the catalog what processes do, at random."""

    at: Following
    rng: random.Random
    collection: Collection
    serving: Generation

    async def run(self) -> None:
        acts = [self.publish, self.delete, self.claim, self.publish_beside, self.collect, self.compact, self.log]
        for act in self.rng.choices(acts, weights=[40, 12, 8, 20, 4, 4, 1], k=STEPS):
            await act(self.rng.choice(self.at.catalogs))
            await asyncio.sleep(self.rng.choice([0, 0, 0.02]))

    async def publish(self, catalog: Catalog) -> None:
        await self._publish(catalog, self.serving)

    async def publish_beside(self, catalog: Catalog) -> None:
        """In a generation that others let go meanwhile."""
        _, made = await generation(catalog, settings="fixed")
        with suppress(GenerationDropped):
            for _ in range(3):
                await self._publish(catalog, made)

    async def delete(self, catalog: Catalog) -> None:
        await catalog.delete(self.collection, self._some())

    async def claim(self, catalog: Catalog) -> None:
        await catalog.claim(self.collection, self.rng.choice(["folder", "wiki"]), self._some())

    async def collect(self, catalog: Catalog) -> None:
        """With all but what serves let go."""
        letting_go = Generations(SETTINGS, catalog=catalog, index=self.at.index, embedders=Embedders(SETTINGS))
        with suppress(IndexUnavailable):  # its process was killed twice meanwhile: the change log says the same later
            await letting_go.gc(everything=True)

    async def compact(self, catalog: Catalog) -> None:
        await catalog.compact()

    async def log(self, catalog: Catalog) -> None:
        await catalog.auditing.log_everything()

    async def _publish(self, catalog: Catalog, made: Generation) -> None:
        source = self.rng.choice(["folder", "wiki"])
        versions = [version(uri, self._lines(), str(self.rng.random()), source) for uri in self._some()]
        await catalog.publish(made, versions)

    def _some(self) -> list[str]:
        return self.rng.sample(URIS, k=self.rng.randint(1, 5))

    def _lines(self) -> list[str]:
        return [" ".join(self.rng.choices(WORDS, k=3)) for _ in range(self.rng.randint(1, 4))]


async def live(at: Following, seed: int) -> None:
    """Several write while what feeds the index is ended now and then; then index and catalog are compared."""
    rng = random.Random(seed)
    collection, serving = await generation(at.catalogs[0])
    await at.catalogs[0].serve(serving)
    writers = [Writer(at=at, rng=random.Random(rng.random()), collection=collection, serving=serving) for _ in range(3)]
    writing = asyncio.gather(*(writer.run() for writer in writers))
    while not writing.done():
        await asyncio.wait([writing], timeout=rng.uniform(0.05, 1))
        await at.disturb()
    await writing
    await assert_followed(at)


async def assert_followed(at: Following) -> None:
    catalog, exact = at.catalogs[0], ExactIndex()
    audit = await Auditor(catalog, at.index, "tested", patience=60).audit()
    assert audit.clean, audit.found
    await Applier(catalog, exact).catch_up()
    assert await at.index.position() == await catalog.head()
    assert set(await at.index.scopes()) == set(await exact.scopes())
    wheres: list[Filter | None] = [None, In("source", ("wiki",)), Range("lines", gte=3)]
    for scope in await exact.scopes():
        assert await scanned(at.index, scope) == await scanned(exact, scope)
        for where in wheres:
            question = {"vector": vector("a"), "text": "fox newt", "limit": 1000, "where": where}
            found, wanted = [scores(await each.search(scope, **question)) for each in (at.index, exact)]  # type: ignore[arg-type]
            assert found.keys() == wanted.keys()
            assert all(found[chunk] == pytest.approx(wanted[chunk], abs=1e-3) for chunk in wanted)


async def test_the_exact_index_follows(catalog: Catalog) -> None:
    index = ExactIndex()
    async with fed(lambda: Applier(catalog, index, batch=5).run()) as disturb:
        await live(Following(catalogs=[catalog], index=index, disturb=disturb), SEED)


async def test_the_edge_index_follows(catalog: Catalog, database_url: str, tmp_path: Path) -> None:
    async with opened(tmp_path, database_url, build_after=100) as index:

        async def kill() -> None:
            os.kill(await process_of(index), signal.SIGKILL)

        await live(Following(catalogs=[catalog], index=index, disturb=kill), SEED)


async def test_the_pgvector_index_follows(catalog: Catalog, database_url: str) -> None:
    """Some publish into it, some beside it, two follow."""
    first, second = (PgvectorIndex.open(database_url, build_from=20) for _ in range(2))
    attached = [await Catalog.open(database_url, attached=each) for each in (first, second)]
    async with (
        fed(lambda: follow_alone(attached[0], first, "pgvector")) as disturb,
        fed(lambda: follow_alone(attached[1], second, "pgvector")) as disturb_too,
    ):

        async def both() -> None:
            await disturb()
            await disturb_too()

        await live(Following(catalogs=[*attached, *attached, catalog], index=first, disturb=both), SEED)
    for opened_catalog in attached:
        await opened_catalog.aclose()
    for index in (first, second):
        await index.aclose()


async def test_a_generation_made_anew_while_it_is_let_go_keeps_its_points(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the catalog's letting go and the index's, a reindex of the same settings has begun and was applied."""
    _, serving = await generation(catalog)
    await catalog.serve(serving)
    _, beside = await generation(catalog, settings="fixed")
    index = ExactIndex()
    drop = Catalog.drop

    async def dropped(self: Catalog, collection: Collection, dropping: Generation) -> bool:
        done = await drop(self, collection, dropping)
        _, again = await generation(catalog, settings="fixed")
        await catalog.publish(again, [version("a", ["fox"])])
        await Applier(catalog, index).catch_up()
        return done

    monkeypatch.setattr(Catalog, "drop", dropped)
    letting_go = Generations(SETTINGS, catalog=catalog, index=index, embedders=Embedders(SETTINGS))
    assert (await letting_go.gc(everything=True)).generations == 1
    assert await index.count(scope_of(beside)) == 1


@asynccontextmanager
async def fed(feed: Callable[[], Awaitable[None]]) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Something feeds an index. What it gives ends that and begins anew."""
    task = asyncio.ensure_future(feed())

    async def disturb() -> None:
        nonlocal task
        await end(task)
        task = asyncio.ensure_future(feed())

    try:
        yield disturb
    finally:
        await end(task)
