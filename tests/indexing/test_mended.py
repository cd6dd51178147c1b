"""A failure that is over is forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ragstone.app import Ragstone, open_ragstone
from ragstone.catalog.queue import Job
from ragstone.models import Collection, Failure
from ragstone.settings import IndexSettings, Settings


async def look(ragstone: Ragstone, collection: Collection) -> None:
    """Let a worker that follows nothing do what is in the queue."""
    async with asyncio.timeout(30):
        working = asyncio.create_task(ragstone.upkeep.keep_up([]))
        while await ragstone.catalog.queue.busy(collection):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
    working.cancel()
    await asyncio.wait([working])


@pytest.mark.parametrize("told", [True, False])
async def test_a_document_that_is_back_as_it_was_is_no_dead_letter(
    tmp_path: Path, database_url: str, told: bool
) -> None:
    """Such as a file that could not be opened for a while: its revision is the one that is indexed already."""
    file = tmp_path / "docs" / "tea.md"
    file.parent.mkdir()
    file.write_text("# Tea\n\nThe kettle is descaled on Thursdays.\n")
    settings = Settings(data_dir=tmp_path / "data", database={"url": database_url}, index=IndexSettings(url="exact"))
    async with open_ragstone(settings) as ragstone:
        source = ragstone.upkeep.source(str(file.parent))
        await ragstone.upkeep.sync(source, lambda report: None)
        collection = await ragstone.catalog.ensure_collection("default", "default")
        failure = Failure(
            uri=file.as_uri(), source=source.name, revision=None, settings="", code="unreadable", reason="refused"
        )
        await ragstone.catalog.record_failures(collection, [failure])
        if told:  # by what follows the source: a worker looks at it
            await ragstone.catalog.queue.add(collection, [Job(source=source.name, uri=file.as_uri())])
            await look(ragstone, collection)
        else:
            assert (await ragstone.upkeep.sync(source, lambda report: None)).skipped == []
        assert await ragstone.catalog.failures(collection) == []
