"""Snapshots of the edge index: whole, of one position, taken under searches and writes; and what restoring refuses."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalog.material import generation, version
from contracts.points import Question, ask, one_document, scanned, scope_of, scores
from index.processes import assert_same_as_exact, built, gone, opened, process_of
from ragstone.catalog.catalog import Catalog
from ragstone.errors import IndexFailure, IndexUnavailable
from ragstone.index.edge.snapshot import restore
from ragstone.index.filters import Range
from ragstone.models import Replacement

ALL = Question((1,) * 8, ("fox",), 1000)


DOCUMENT = one_document("a", *["fox", "owl"] * 20, fields={"year": (2024,)})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of catalog `mine` at position 7, with one document in it, beside the index that it is of."""
    folder = tmp_path_factory.mktemp("whole")

    async def take() -> None:
        async with opened(folder / "first") as index:
            process = await process_of(index)
            await index.reset("mine")
            await index.apply([DOCUMENT], 7)
            await index.snapshot(folder / "taken.tar")
        await gone(process)

    asyncio.run(take())
    return folder / "taken.tar"


@pytest.fixture
def taken(whole: Path, tmp_path: Path) -> Path:
    """A copy to do anything with."""
    return Path(shutil.copy(whole, tmp_path))


async def test_it_holds_one_position_whatever_happens_meanwhile(tmp_path: Path) -> None:
    first, later = one_document("a", *["fox"] * 200, fields={"year": (1,)}), one_document("a", "fox", "fox")
    async with opened(tmp_path / "first", build_after=100) as index:
        await index.reset("mine")
        await index.apply([first], 7)
        await built(index)
        wanted = scores(await ask(index, scope_of(first), ALL))
        stop = asyncio.Event()
        meanwhile = asyncio.create_task(_search_and_write(index, first, later, stop))
        snapshot = await index.snapshot(tmp_path / "taken.tar")
        stop.set()
        assert await meanwhile > 0
        assert (snapshot.source, snapshot.size) == ("mine", (tmp_path / "taken.tar").stat().st_size)
        assert {path.name for path in tmp_path.iterdir()} == {"first", "taken.tar"}
    assert await restore(tmp_path / "second", tmp_path / "taken.tar", source="mine") == snapshot
    async with opened(tmp_path / "second") as index:
        assert (await index.source(), await index.position()) == ("mine", snapshot.position)
        assert scores(await ask(index, scope_of(first), ALL)) == wanted
        assert await index.count(scope_of(first), Range("year", lt=2)) == 200
        assert await index.count(scope_of(later)) == (0 if snapshot.position == 7 else 2)
        assert (await index.health()).points == snapshot.points


async def _search_and_write(index: Any, first: Replacement, later: Replacement, stop: asyncio.Event) -> int:
    turns = 0
    while not stop.is_set():
        assert len(await ask(index, scope_of(first), ALL)) == 200
        await index.apply([later], 8 + turns)
        turns += 1
    return turns


async def test_what_came_after_it_is_caught_up_with(tmp_path: Path, catalog: Catalog, database_url: str) -> None:
    collection, made = await generation(catalog)
    await catalog.publish(made, [version(f"{n}", [f"owl {n}", "fox"]) for n in range(5)])
    async with opened(tmp_path / "first", database_url) as index:
        assert await index.wait(await catalog.head(), timeout=60)
        snapshot = await index.snapshot(tmp_path / "taken.tar")
    await catalog.publish(made, [version("5", ["owl 5"]), version("1", ["fox fox"], "2")])
    await catalog.delete(collection, ["0"])
    await restore(tmp_path / "second", tmp_path / "taken.tar", source=await catalog.identity())
    async with opened(tmp_path / "second", database_url) as index:
        await assert_same_as_exact(index, catalog, made)
        log = (tmp_path / "second" / "index" / "edge.log").read_text()
        assert f"from position {snapshot.position}" in log
        assert "rebuilt" not in log


async def test_one_of_another_catalog_is_never_followed(
    tmp_path: Path, catalog: Catalog, database_url: str, taken: Path
) -> None:
    with pytest.raises(IndexFailure, match="another catalog"):
        await restore(tmp_path / "second", taken, source=await catalog.identity())
    _, made = await generation(catalog)
    await catalog.publish(made, [version("a", ["owl"])])
    await restore(tmp_path / "second", taken)
    async with opened(tmp_path / "second", database_url) as index:
        async with asyncio.timeout(30):
            while await index.source() != await catalog.identity():  # noqa: ASYNC110 (it happens in another process)
                await asyncio.sleep(0.02)
        await assert_same_as_exact(index, catalog, made)
        assert await index.count(scope_of(DOCUMENT)) == 0


async def test_it_takes_the_place_of_what_was_there(tmp_path: Path, taken: Path) -> None:
    """Of a process too that nobody uses any more."""
    other = one_document("b", "newt")
    async with opened(tmp_path / "second", linger=60) as index:
        await index.apply([other], 99)
    await restore(tmp_path / "second", taken)
    async with opened(tmp_path / "second") as index:
        assert await index.scopes() == [scope_of(DOCUMENT)]
        entries = await scanned(index, scope_of(DOCUMENT))
        assert {(e.chunk_id, e.hash) for e in entries} == {(p.chunk_id, p.hash) for p in DOCUMENT.points}
        assert (await index.position(), await index.source()) == (7, "mine")
        assert len(list((tmp_path / "second" / "index").glob("*-*"))) == 1


async def test_it_is_refused_while_somebody_uses_the_index(tmp_path: Path, taken: Path) -> None:
    async with opened(tmp_path / "second") as index:
        await index.apply([], 3)
        with pytest.raises(IndexUnavailable, match=str(await process_of(index))):
            await restore(tmp_path / "second", taken)
        assert await index.position() == 3


async def test_a_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.apply([one_document("a", "fox")], 1)
        for target in (tmp_path / "nowhere" / "taken.tar", Path("/proc/taken.tar")):
            with pytest.raises(IndexFailure, match="part"):
                await index.snapshot(target)
        await index.apply([one_document("a", "fox")], 2)
        assert {path.name for path in (tmp_path / "index").glob("*-*")} == {
            path.name for path in (tmp_path / "index").glob("shard-*")
        }


# --- files that are refused -------------------------------------------------------------------------------------


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def altered(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


def of_something_else(file: Path) -> None:
    with tarfile.open(file, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("hello"))


def no_archive(file: Path) -> None:
    file.write_text("hello")


def changed(change: Callable[[dict[str, Any]], None], extra: str = "") -> Callable[[Path], None]:
    """The same file with another manifest, and perhaps with a member more."""

    def rewrite(file: Path) -> None:
        with tarfile.open(file) as old, _new(file.with_suffix(".new")) as new:
            for member in old:
                content = old.extractfile(member)
                data = content.read() if content else b""
                if member.name == "manifest.json":
                    manifest = json.loads(data)
                    change(manifest)
                    data = json.dumps(manifest).encode()
                    member.size = len(data)
                new.addfile(member, io.BytesIO(data))
            if extra:
                new.addfile(tarfile.TarInfo(extra))
        file.with_suffix(".new").replace(file)

    return rewrite


def _new(file: Path) -> tarfile.TarFile:
    return tarfile.open(file, "w:gz", compresslevel=1)


def older(manifest: dict[str, Any]) -> None:
    manifest["state"]["layout"] = "1; older"


def naming_more(manifest: dict[str, Any]) -> None:
    (space,) = manifest["state"]["spaces"].values()
    manifest["state"]["spaces"]["other"] = {**space, "folder": "shard-none"}


def unchanged(manifest: dict[str, Any]) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (truncated, "no whole snapshot"),
        (altered, "no whole snapshot"),
        (of_something_else, "no whole snapshot"),
        (no_archive, "no whole snapshot"),
        (changed(older), "another version"),
        (changed(naming_more), "shard-none"),
        (changed(unchanged, extra="../evil"), "evil"),
        (Path.unlink, "No such file"),
    ],
)
async def test_a_file_that_is_not_right_changes_nothing(
    whole: Path, taken: Path, spoil: Callable[[Path], None], complaint: str
) -> None:
    def index() -> tuple[bytes, set[str]]:
        folder = whole.parent / "first" / "index"
        return (folder / "state.json").read_bytes(), {os.fspath(path) for path in folder.rglob("*")}

    before = index()
    spoil(taken)
    with pytest.raises(IndexFailure, match=complaint):
        await restore(whole.parent / "first", taken)
    assert index() == before
