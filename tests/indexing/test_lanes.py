"""Which jobs of a pass go first: changes of what is indexed, before what fills a collection or a new generation."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.app import Ragstone, open_ragstone
from ragstone.indexing.report import Report
from ragstone.indexing.sync import Sync
from ragstone.settings import ChunkingSettings, IndexSettings, Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for name in ("kettle", "ladder"):
        (tmp_path / "docs" / f"{name}.md").write_text(f"# The {name}\n\nIt is kept in the cellar.\n")
    return tmp_path / "docs"


async def lanes(ragstone: Ragstone, folder: Path) -> dict[str, str]:
    """The lane of each document that a pass enqueues; nobody works on them."""
    collection = await ragstone.upkeep.generations.collection()
    sync = Sync(catalog=ragstone.catalog, collection=collection, digest="")
    await sync.scan(ragstone.upkeep.source(str(folder)), Report())
    found = {Path(job.uri).name: job.lane for job in await ragstone.catalog.queue.jobs(collection)}
    await ragstone.catalog.queue.drop(collection)
    return {name: str(lane) for name, lane in found.items()}


async def test_changes_go_before_what_is_new_and_before_what_fills_a_new_generation(
    folder: Path, tmp_path: Path, database_url: str
) -> None:
    settings = Settings(data_dir=tmp_path / "data", database={"url": database_url}, index=IndexSettings(url="exact"))
    async with open_ragstone(settings) as ragstone:
        await ragstone.upkeep.sync(ragstone.upkeep.source(str(folder)), lambda report: None)
        (folder / "lamp.md").write_text("# The lamp\n\nIt is new.\n")
        (folder / "ladder.md").write_text("# The ladder\n\nIt is lent out.\n")
        assert await lanes(ragstone, folder) == {"lamp.md": "backfill", "ladder.md": "live"}

    rechunked = settings.model_copy(update={"chunking": ChunkingSettings(max_tokens=64)})
    async with open_ragstone(rechunked) as ragstone:
        await ragstone.upkeep.generations.create(await ragstone.upkeep.generations.collection())
        assert await lanes(ragstone, folder) == {"lamp.md": "backfill", "kettle.md": "backfill", "ladder.md": "live"}
