"""The edge index where its disk gives no room, or no permission: it says so, loses nothing and goes on by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from catalog.material import generation, version
from contracts.points import Question, ask, one_document, scope_of
from index.processes import assert_same_as_exact, gone, opened, process_of, until
from ragstone.catalog.catalog import Catalog
from ragstone.errors import IndexFailure, IndexReadOnly
from ragstone.index.edge import faults
from ragstone.index.edge.client import EdgeIndex
from ragstone.index.edge.local import LocalIndex
from ragstone.models import scope_of as scope_of_generation

FOX = Question((1,) * 8, ("fox",), 10)


def mount(folder: Path, options: str) -> None:
    """A file system of its own; skips the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    if sys.platform != "linux":
        pytest.skip("made for Linux")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("a small disk cannot be mounted here")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """300 MiB."""
    mount(tmp_path / "disk", "size=300m")
    yield tmp_path / "disk"
    subprocess.run(["umount", "-l", tmp_path / "disk"], check=True)


def fill(disk: Path, left: int) -> Path:
    """Returns the file that takes the room."""
    state = os.statvfs(disk)
    file = disk / "fill"
    with file.open("wb") as taken:
        os.posix_fallocate(taken.fileno(), 0, state.f_bavail * state.f_frsize - left)
    return file


async def test_a_full_disk_stops_writing_alone_until_there_is_room(
    disk: Path, catalog: Catalog, database_url: str
) -> None:
    collection, made = await generation(catalog)
    scope = scope_of_generation(made)
    await catalog.publish(made, [version("a", ["fox", "owl"]), version("b", ["owl 3"])])
    async with opened(disk / "data", database_url) as index:
        await assert_same_as_exact(index, catalog, made)
        process = await process_of(index)
        taken = fill(disk, left=faults.RESERVE - 2**20)
        await catalog.publish(made, [version("a", ["fox fox"], "2"), version("c", ["owl 7"])])
        await catalog.delete(collection, ["b"])
        await until(lambda: _is_read_only(index))
        assert await index.count(scope) == 3
        with pytest.raises(IndexReadOnly, match="full") as told:
            await index.snapshot(disk / "taken.tar")
        assert "by itself" in told.value.hint
        taken.unlink()
        await assert_same_as_exact(index, catalog, made)
        assert (await index.health()).state == "ready"
        assert await process_of(index) == process


async def _is_read_only(index: EdgeIndex) -> bool:
    return (await index.health()).state == "read_only"


async def test_a_process_does_not_start_on_a_full_disk_and_loses_nothing(disk: Path) -> None:
    document = one_document("a", "fox", "owl")
    async with opened(disk / "data") as index:
        await index.apply([document], 3)
        process = await process_of(index)
    await gone(process)
    taken = fill(disk, left=2**20)
    with pytest.raises(IndexReadOnly, match="full"):
        EdgeIndex.open(disk / "data", None, follow=False)
    taken.unlink()
    async with opened(disk / "data") as index:
        assert await index.position() == 3
        assert len(await ask(index, scope_of(document), FOX)) == 2


def test_a_folder_that_is_read_only_is_a_clear_error(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(IndexReadOnly, match="data") as told:
        EdgeIndex.open(disk / "data", None)
    assert "writable" in told.value.hint


async def test_what_is_refused_for_want_of_room_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an operating system that reports what it is told to, for where no disk can be mounted."""
    index = LocalIndex(tmp_path)
    first, second = one_document("a", "fox"), one_document("a", "newt")
    await index.apply([first], 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=10, f_frsize=4096))
        for _ in range(2):
            with pytest.raises(IndexReadOnly, match="full"):
                await index.apply([second], 2)
        assert (index.read_only, await index.position()) == (True, 1)
    await index.apply([second], 2)
    assert (index.read_only, await index.position()) == (False, 2)
    assert [index.store.count(scope_of(each), None) for each in (first, second)] == [1, 1]
    index.close()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Service internal error: IO Error: No space left on device (os error 28)", IndexReadOnly),
        ("Service internal error: Read-only file system (os error 30)", IndexReadOnly),
        ("Service internal error: Input/output error (os error 5)", IndexFailure),
        ("Bad request: Expected some form of condition", IndexFailure),
    ],
)
def test_the_engine_says_what_the_operating_system_refused(said: str, kind: type[IndexFailure]) -> None:
    with pytest.raises(IndexFailure) as told, faults.engine_errors():
        raise Exception(said)
    assert type(told.value) is kind
    assert said in str(told.value)
