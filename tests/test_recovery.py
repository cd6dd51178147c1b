"""What a long-running process does when PostgreSQL or the index goes away under it."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from ragstone.app import Ragstone, open_ragstone
from ragstone.errors import RagstoneError
from ragstone.settings import IndexSettings, Settings

QUESTION = "When is the kettle descaled?"


async def indexed(ragstone: Ragstone, folder: Path) -> None:
    folder.mkdir()
    (folder / "tea.md").write_text("# Tea\n\nThe kettle is descaled on Thursdays.\n")
    await ragstone.upkeep.sync(ragstone.upkeep.source(str(folder)), lambda report: None)
    assert await ragstone.caught_up(20)


async def answers(ragstone: Ragstone) -> bool:
    found = await ragstone.search(QUESTION)
    return any("Thursdays" in passage.text for passage in found.passages)


async def test_a_deleted_index_gives_no_empty_answer(tmp_path: Path) -> None:
    async with open_ragstone(Settings(data_dir=tmp_path / "data", index=IndexSettings(linger=1))) as ragstone:
        await indexed(ragstone, tmp_path / "docs")
        shutil.rmtree(tmp_path / "data" / "index")
        os.kill(int((await ragstone.index.health()).details["process"]), signal.SIGKILL)
        assert await answers(ragstone)


async def test_a_killed_postgresql_is_started_again(tmp_path: Path) -> None:
    async with open_ragstone(Settings(data_dir=tmp_path / "data", index=IndexSettings(linger=1))) as ragstone:
        await indexed(ragstone, tmp_path / "docs")
        postmaster = int((tmp_path / "data" / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGKILL)
        for _ in range(3):
            try:
                assert await answers(ragstone)
                break
            except RagstoneError:
                continue
        else:
            raise AssertionError("it did not come back")
