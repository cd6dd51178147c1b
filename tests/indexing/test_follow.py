"""Followers: what is told of at once, whole passes in between, one at a time, and what goes wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from indexing.bench import Bench, Condition, Shelf, bench, until
from ragstone.app import Ragstone, open_ragstone
from ragstone.catalog.catalog import Catalog
from ragstone.errors import SourceError
from ragstone.indexing import follow
from ragstone.indexing.follow import Follower
from ragstone.indexing.sync import Sync
from ragstone.settings import IndexSettings, Settings
from ragstone.source_settings import FolderSource

NEVER = 3600.0


@dataclass
class Telling(Shelf):
    """A shelf that tells what a test puts into `told`; an error is raised there."""

    told: asyncio.Queue[frozenset[str] | SourceError] = field(default_factory=asyncio.Queue)
    watched: int = 0

    async def changes(self) -> AsyncIterator[frozenset[str]]:
        self.watched += 1
        while True:
            hint = await self.told.get()
            if isinstance(hint, SourceError):
                raise hint
            yield hint


@pytest.fixture
async def stand(catalog: Catalog) -> Bench:
    made = await bench(catalog)
    made.shelf = Telling()
    return made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "AGAIN", 0.1)


def follower(stand: Bench, every: float = NEVER) -> Follower:
    sync = Sync(catalog=stand.catalog, collection=stand.collection, digest="settings")
    return Follower(sync, stand.shelf, every)


@asynccontextmanager
async def following(*followers: Follower) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(one.run()) for one in followers]
    try:
        yield tasks
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def queued(stand: Bench) -> set[str]:
    return {job.uri.removeprefix(stand.shelf.prefix) for job in await stand.jobs()}


def listed(stand: Bench, times: int) -> Condition:
    async def enough() -> bool:
        return stand.shelf.listed >= times

    return enough


def waits_for(stand: Bench, *names: str) -> Condition:
    async def there() -> bool:
        return await queued(stand) >= set(names)

    return there


# --- a shelf --------------------------------------------------------------------------------------------------------


async def test_a_first_pass_and_then_what_is_told_of(stand: Bench) -> None:
    assert isinstance(stand.shelf, Telling)
    stand.shelf.texts = {"a": "text", "b": "text"}
    async with following(follower(stand)):
        await until(waits_for(stand, "a", "b"))
        stand.shelf.told.put_nowait(frozenset({"shelf:/c", "shelf:/d"}))
        await until(waits_for(stand, "a", "b", "c", "d"))
    assert stand.shelf.listed == 1
    lanes = {job.uri: job.lane for job in await stand.jobs()}
    assert (lanes["shelf:/a"], lanes["shelf:/c"]) == ("backfill", "live")


async def test_an_empty_hint_asks_for_a_pass(stand: Bench) -> None:
    assert isinstance(stand.shelf, Telling)
    async with following(follower(stand)):
        await until(listed(stand, 1))
        stand.shelf.texts = {"a": "text"}
        stand.shelf.told.put_nowait(frozenset())
        await until(waits_for(stand, "a"))
    assert stand.shelf.listed == 2


async def test_a_pass_comes_every_so_often(stand: Bench) -> None:
    async with following(follower(stand, every=0.1)):
        await until(listed(stand, 3))
        stand.shelf.texts = {"a": "text"}
        await until(waits_for(stand, "a"))


async def test_a_source_that_cannot_be_listed_is_tried_again_and_nothing_is_deleted(stand: Bench) -> None:
    stand.shelf.texts = {"a": "text"}
    await stand.scan()
    await stand.worker().drain()
    stand.shelf.texts = {}
    stand.shelf.listing = SourceError("away")
    before = stand.shelf.listed
    async with following(follower(stand)):
        await until(listed(stand, before + 3))
        assert set(await stand.indexed()) == {"a"}
        stand.shelf.texts, stand.shelf.listing = {"b": "text"}, None
        await until(waits_for(stand, "b"))
    assert await stand.indexed() == {}


async def test_a_source_that_lists_nothing_all_at_once_loses_nothing(
    stand: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    stand.shelf.texts = {"a": "text"}
    await stand.scan()
    await stand.worker().drain()
    stand.shelf.texts = {}
    before = stand.shelf.listed
    async with following(follower(stand)):
        await until(listed(stand, before + 2))
    assert set(await stand.indexed()) == {"a"}
    assert "lists nothing, but 1 of its documents are indexed" in caplog.text


async def test_what_is_told_of_a_source_that_cannot_be_listed_is_not_lost(stand: Bench) -> None:
    assert isinstance(stand.shelf, Telling)
    stand.shelf.listing = SourceError("away")
    async with following(follower(stand)):
        await until(listed(stand, 1))
        stand.shelf.told.put_nowait(frozenset({"shelf:/c"}))
        await until(waits_for(stand, "c"))


async def test_a_source_that_can_be_watched_no_longer_is_watched_again_and_listed(
    stand: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(stand.shelf, Telling)
    shelf = stand.shelf
    async with following(follower(stand)):
        await until(listed(stand, 1))
        shelf.told.put_nowait(SourceError("too many watches"))
        await until(listed(stand, 2))
        shelf.told.put_nowait(frozenset({"shelf:/c"}))
        await until(waits_for(stand, "c"))
    assert shelf.watched == 2
    assert "cannot be watched: too many watches" in caplog.text


async def test_one_of_two_followers_does_the_work_and_the_other_takes_over(stand: Bench) -> None:
    assert isinstance(stand.shelf, Telling)
    shelf = stand.shelf
    shelf.texts = {"a": "text"}
    first = asyncio.create_task(follower(stand, every=0.2).run())
    await until(listed(stand, 1))
    second = asyncio.create_task(follower(stand, every=0.2).run())
    try:
        await until(listed(stand, 5))
        assert shelf.watched == 1
        first.cancel()
        await asyncio.wait([first])
        before = shelf.listed
        await until(listed(stand, before + 2))
        assert shelf.watched == 2
    finally:
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def test_following_goes_on_after_connections_are_lost(stand: Bench, caplog: pytest.LogCaptureFixture) -> None:
    kill = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
    """
    async with following(follower(stand, every=0.05), follower(stand, every=0.05)):
        await until(listed(stand, 2))
        for _ in range(5):
            async with await psycopg.AsyncConnection.connect(stand.catalog.url, autocommit=True) as connection:
                await connection.execute(kill)
            await until(listed(stand, stand.shelf.listed + 3))
        stand.shelf.texts = {"late": "text"}
        await until(waits_for(stand, "late"))
    assert [r for r in caplog.records if r.levelno > logging.WARNING] == []


# --- a folder -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def ragstone(tmp_path: Path, database_url: str) -> AsyncIterator[Ragstone]:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "tea.md").write_text("# Tea\n\nThe kettle is descaled on Thursday.\n")
    settings = Settings(
        data_dir=tmp_path / "data",
        database={"url": database_url},
        index=IndexSettings(url="exact"),
        sources={"docs": FolderSource(kind="folder", path=tmp_path / "docs")},
    )
    async with open_ragstone(settings) as opened:
        task = asyncio.create_task(opened.upkeep.keep_up())
        try:
            yield opened
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()


async def test_what_is_saved_renamed_or_deleted_in_a_folder_is_found_or_not_soon(
    ragstone: Ragstone, tmp_path: Path
) -> None:
    everything = ragstone.settings.retrieval.model_copy(update={"min_cosine": -1})

    async def served() -> dict[str, str]:
        collection = await ragstone.catalog.collection(ragstone.settings.tenant, ragstone.settings.collection)
        if collection is None or collection.serving is None:
            return {}
        found = await ragstone.search("kettle and gate", everything)
        return {Path(passage.uri).name: passage.text for passage in found.passages}

    def shows(**expected: str) -> Condition:
        async def shown() -> bool:
            found = await served()
            return found.keys() == {f"{name}.md" for name in expected} and all(
                text in found[f"{name}.md"] for name, text in expected.items()
            )

        return shown

    docs = tmp_path / "docs"
    await until(shows(tea="Thursday"))
    (docs / "gate.md").write_text("# Gate\n\nVisitors sign in at the gate.\n")
    await until(shows(tea="Thursday", gate="sign in"))
    (docs / "tea.md").write_text("# Tea\n\nThe kettle is descaled on Friday.\n")
    await until(shows(tea="Friday", gate="sign in"))
    (docs / "gate.md").rename(docs / "door.md")
    await until(shows(tea="Friday", door="sign in"))
    (docs / "tea.md").unlink()
    await until(shows(door="sign in"))


async def test_a_follower_whose_lock_was_lost_with_its_connection_leaves_the_source_to_the_next(
    stand: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "AGAIN", 0.5)  # the first to ask for the lock gets it
    first = asyncio.create_task(follower(stand, every=0.2).run())
    try:
        await until(_listed(stand, 1))
        async with await psycopg.AsyncConnection.connect(stand.catalog.url, autocommit=True) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            )
            await connection.execute(
                "SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"{stand.collection.id} follow {stand.shelf.name}"]
            )
            await asyncio.sleep(1.0)
            listed = stand.shelf.listed
            await asyncio.sleep(1.0)
            assert stand.shelf.listed == listed
        await until(_listed(stand, listed + 1))
    finally:
        first.cancel()
        await asyncio.wait([first])


def _listed(stand: Bench, times: int) -> Condition:
    async def reached() -> bool:
        return stand.shelf.listed >= times

    return reached
