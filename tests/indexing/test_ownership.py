"""Who a document belongs to, what a re-index may lose, and how a source is forgotten."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from indexing.bench import until
from ragstone.app import Ragstone, open_ragstone
from ragstone.catalog.queue import Job
from ragstone.errors import SettingsError, SourceError
from ragstone.indexing.report import Report
from ragstone.indexing.sync import Sync
from ragstone.indexing.taking import taking
from ragstone.models import Collection
from ragstone.settings import ChunkingSettings, IndexSettings, Settings
from ragstone.source_settings import FolderSource
from ragstone.sources.base import Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "drafts").mkdir(parents=True)
    (docs / "tea.md").write_text("# Tea\n\nThe kettle is descaled on Thursdays.\n")
    (docs / "train.txt").write_text("Season tickets are ordered through the travel desk.\n")
    (docs / "drafts" / "canteen.md").write_text("# Canteen\n\nLunch will be served from noon.\n")
    return docs


@pytest.fixture
def settings(tmp_path: Path, folder: Path, database_url: str) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        database={"url": database_url},
        index=IndexSettings(url="exact"),
        sources={
            "pages": FolderSource(path=folder, include=("*.md",), exclude=("drafts/**",)),
            "texts": FolderSource(path=folder, include=("*.txt",)),
            "drafts": FolderSource(path=folder / "drafts"),
        },
    )


@pytest.fixture
async def ragstone(settings: Settings) -> AsyncIterator[Ragstone]:
    async with open_ragstone(settings) as opened:
        yield opened


async def sync(ragstone: Ragstone, *names: str) -> list[Report]:
    return [await ragstone.upkeep.sync(ragstone.upkeep.source(name), lambda report: None) for name in names]


async def served(ragstone: Ragstone) -> set[str]:
    return {Path(uri).name for uri in await ragstone.catalog.states(await ragstone.serving())}


async def test_sources_over_one_folder_leave_each_other_alone(ragstone: Ragstone, folder: Path) -> None:
    await sync(ragstone, "pages", "texts", "drafts")
    again = await sync(ragstone, "pages", "texts", "drafts")
    assert [(r.published, r.deleted) for r in again] == [(0, 0)] * 3
    (folder / "train.txt").unlink()
    (folder / "more.txt").write_text("The lift is inspected in May.")
    assert [r.deleted for r in await sync(ragstone, "pages", "texts", "drafts")] == [0, 1, 0]
    assert await served(ragstone) == {"tea.md", "more.txt", "canteen.md"}


@pytest.mark.parametrize("file_first", [True, False])
async def test_a_folder_notices_that_a_file_indexed_alone_is_gone(
    ragstone: Ragstone, folder: Path, file_first: bool
) -> None:
    names = [str(folder / "tea.md"), str(folder)]
    await sync(ragstone, *(names if file_first else reversed(names)))
    (folder / "tea.md").write_text("# Tea\n\nThere is no kettle.\n")
    await sync(ragstone, *names)
    (folder / "tea.md").unlink()
    await sync(ragstone, str(folder))
    assert "tea.md" not in await served(ragstone)


async def test_what_waits_and_what_runs_cannot_bring_a_forgotten_source_back(ragstone: Ragstone, folder: Path) -> None:
    await sync(ragstone, "pages", "texts")
    collection = await ragstone.upkeep.generations.collection()
    queue = ragstone.catalog.queue
    (folder / "new.md").write_text("# New\n\nNever indexed before.\n")
    source = ragstone.upkeep.source("pages")
    scan = Sync(catalog=ragstone.catalog, collection=collection, digest="")
    assert len(await scan.scan(source, Report())) == 1
    async with taking(ragstone.catalog, collection, partial(_slowly, ragstone, scan, source), 1, 10.0) as taker:
        running = asyncio.create_task(taker.run())  # type: ignore[no-untyped-call]
        await until(partial(_running, ragstone, collection))
        assert await ragstone.upkeep.forget("pages") == 1
        assert not await queue.busy(collection)
        taker.stop()  # type: ignore[no-untyped-call]
        await running
    assert await served(ragstone) == {"train.txt"}


async def _running(ragstone: Ragstone, collection: Collection) -> bool:
    return (await ragstone.catalog.queue.state(collection)).running > 0


async def _slowly(ragstone: Ragstone, scan: Sync, source: Source, uri: str, **rest: object) -> None:
    """A job that comes to nothing, and is to be tried again."""
    await asyncio.sleep(0.5)
    await ragstone.catalog.queue.add(scan.collection, [Job(source=source.name, uri=uri, attempt=2, error="odd")])


async def test_a_forgotten_source_is_in_no_answer(ragstone: Ragstone, folder: Path) -> None:
    await sync(ragstone, "pages", "texts")
    assert await ragstone.upkeep.forget("texts") == 1
    assert await served(ragstone) == {"tea.md"}
    found = await ragstone.search("Where are season tickets ordered?")
    assert all("travel desk" not in passage.text for passage in found.passages)
    with pytest.raises(SourceError, match="texts"):
        await ragstone.upkeep.forget("texts")


async def test_a_file_that_is_gone_can_be_forgotten_by_its_path(ragstone: Ragstone, folder: Path) -> None:
    await sync(ragstone, str(folder / "tea.md"))
    (folder / "tea.md").unlink()
    with pytest.raises(SourceError) as raised:
        ragstone.upkeep.source(str(folder / "tea.md"))
    assert "ragstone forget" in raised.value.hint
    assert await ragstone.upkeep.forget(str(folder / "tea.md")) == 1


def rechunked(settings: Settings) -> Settings:
    return settings.model_copy(update={"chunking": ChunkingSettings(max_tokens=64)})


async def test_reindex_with_the_same_settings_is_refused(ragstone: Ragstone) -> None:
    await sync(ragstone, "pages")
    with pytest.raises(SettingsError, match="present settings"):
        await ragstone.upkeep.reindex(lambda report: None)


async def test_reindex_does_not_switch_to_less(settings: Settings, folder: Path) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, "pages", "texts")
        before = (await ragstone.serving()).id
    (folder / "tea.md").write_bytes(b"\x00\x01\xff" * 900)
    async with open_ragstone(rechunked(settings)) as ragstone:
        done = await ragstone.upkeep.reindex(lambda report: None)
        assert re.search(r"tea\.md.*--accept-loss", done.objections[0])
        assert (await ragstone.serving()).id == before
        (folder / "train.txt").unlink()
        with pytest.raises(SourceError, match="texts lists nothing"):
            await ragstone.upkeep.reindex(lambda report: None, accept_loss=True)
        assert (await ragstone.serving()).id == before


async def test_reindex_drops_what_the_sources_no_longer_have(settings: Settings, folder: Path) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, str(folder))
    (folder / "tea.md").unlink()
    async with open_ragstone(rechunked(settings)) as ragstone:
        await ragstone.upkeep.reindex(lambda report: None)
        assert await served(ragstone) == {"train.txt", "canteen.md"}
        assert (await ragstone.status()).documents == 2
