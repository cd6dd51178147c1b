"""The process behind the edge index: who starts it, who shares it, what it survives, when it goes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest

from catalog.material import FINGERPRINT, generation, version
from contracts.points import Question, ask, one_document, scope_of, scores
from index.processes import assert_same_as_exact, built, gone, opened, process_of, until
from ragstone.catalog import embedded
from ragstone.catalog.catalog import Catalog
from ragstone.errors import IndexFailure, IndexUnavailable
from ragstone.index.edge import launch
from ragstone.index.edge.client import EdgeIndex
from ragstone.index.exact import ExactIndex
from ragstone.index.filters import Range
from ragstone.models import Point, Scope

ALL = Question((1,) * 8, ("fox",), 1000)

OPEN_AND_TELL = """
import asyncio, sys, time
from pathlib import Path
from ragstone.index.edge.client import EdgeIndex

async def main():
    index = EdgeIndex.open(Path(sys.argv[1]), None, linger=1, follow=False)
    print((await index.health()).details["process"], flush=True)
    await asyncio.sleep(float(sys.argv[2]))
    await index.aclose()

asyncio.run(main())
"""


# --- one process for all ------------------------------------------------------------------------------------------


async def test_concurrent_starters_share_one_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_AND_TELL, os.fspath(tmp_path), "0.5"]
    starters = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(4)]
    async with opened(tmp_path, linger=5) as index:
        mine = await process_of(index)
        told = [(await starter.communicate())[0] for starter in starters]
        assert {int(line) for line in told} == {mine}
        os.kill(mine, signal.SIGTERM)


async def test_it_leaves_after_its_last_client_even_one_that_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_AND_TELL, os.fspath(tmp_path), "60"]
    other = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert other.stdout is not None
    process = int(await other.stdout.readline())
    async with opened(tmp_path) as index:
        assert await process_of(index) == process
        other.kill()
        await other.wait()
        await index.apply([], 5)
    await asyncio.wait_for(gone(process), 30)
    async with opened(tmp_path) as index:
        assert await index.position() == 5
        assert await process_of(index) != process


async def test_it_waits_for_its_first_client_even_when_it_starts_by_building(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.apply([one_document("a", *["fox"] * 50)], 1)
        process = await process_of(index)
    await asyncio.wait_for(gone(process), 30)
    async with opened(tmp_path, build_after=10) as index:
        await asyncio.sleep(2)
        await built(index)
        log = (tmp_path / "index" / "edge.log").read_text()
        assert (log.count("serving"), log.count("graphs built")) == (2, 1)


async def test_only_the_owner_can_reach_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.apply([one_document("a", "fox")], 1)
        folder = tmp_path / "index"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in ("edge.sock", "edge.log", "state.json", "lock"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name


async def test_a_folder_with_a_long_name_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("long name " * 12)
    async with opened(deep) as index:
        await index.apply([one_document("a", "fox")], 1)
        socket = Path((deep / "index" / "address").read_text())
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        process = await process_of(index)
    await asyncio.wait_for(gone(process), 30)
    assert not socket.parent.exists()
    async with opened(deep) as index:
        assert await index.position() == 1


async def test_a_process_of_another_version_makes_room_unless_it_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, linger=60) as index:
        old = await process_of(index)
        with monkeypatch.context() as patch:
            patch.setattr(launch, "__version__", "0.0.1")
            async with opened(tmp_path) as other:
                with pytest.raises(IndexUnavailable, match=str(old)):
                    await other.position()
    async with opened(tmp_path, "postgresql://another/database", follow=False) as index:
        assert await process_of(index) != old


async def test_the_client_does_not_load_the_engine(tmp_path: Path) -> None:
    code = "import sys, ragstone.index.edge.client; sys.exit('qdrant_edge' in sys.modules or 'psycopg' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0


async def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(IndexUnavailable, match="file"):
        EdgeIndex.open(tmp_path / "file", None)


async def test_an_error_of_the_engine_comes_through(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        mine = one_document("a", "fox")
        await index.apply([mine], 1)
        with pytest.raises(IndexFailure, match="8"):
            await index.search(scope_of(mine), vector=np.ones(3, dtype=np.float32), text=None, limit=1)
        assert await index.count(scope_of(mine)) == 1


# --- it follows the catalog ----------------------------------------------------------------------------------------


async def test_it_follows_the_embedded_catalog(tmp_path: Path) -> None:
    server = embedded.start(tmp_path)
    catalog = await Catalog.open(server.url)
    try:
        _, made = await generation(catalog)
        await catalog.publish(made, [version("a", ["fox", "owl"]), version("b", ["owl 3"])])
        async with opened(tmp_path, follow=True) as index:
            await assert_same_as_exact(index, catalog, made)
            await catalog.publish(made, [version("a", ["fox fox"], "2"), version("c", ["owl 7"])])
            await assert_same_as_exact(index, catalog, made)
    finally:
        await catalog.aclose()
        server.stop()


async def test_killed_again_and_again_while_it_applies_it_loses_nothing(
    tmp_path: Path, catalog: Catalog, database_url: str
) -> None:
    collection, made = await generation(catalog)
    async with opened(tmp_path, database_url, build_after=400) as index:
        for turn in range(8):
            process = await process_of(index)
            for part in range(3):
                names = range(part * 10, part * 10 + 10)
                lines = [f"owl {line}" for line in range(15)]
                await catalog.publish(made, [version(f"{n}", [*lines, *["fox"] * turn], f"{turn}") for n in names])
            await catalog.delete(collection, [f"{turn}"])
            await asyncio.sleep(0.015 * turn)
            os.kill(process, signal.SIGKILL)
        await assert_same_as_exact(index, catalog, made)


@pytest.mark.parametrize("running", [True, False])
async def test_a_deleted_folder_comes_back(
    tmp_path: Path, catalog: Catalog, database_url: str, *, running: bool
) -> None:
    _, made = await generation(catalog)
    await catalog.publish(made, [version(f"{n}", [f"owl {n}", "fox"]) for n in range(20)])
    async with opened(tmp_path, database_url) as index:
        await assert_same_as_exact(index, catalog, made)
        process = await process_of(index)
        if not running:
            await index.aclose()
            await asyncio.wait_for(gone(process), 30)
        shutil.rmtree(tmp_path / "index")
        await asyncio.wait_for(gone(process), 30)
        await assert_same_as_exact(index, catalog, made)
        assert (tmp_path / "index" / "state.json").exists()


@pytest.mark.parametrize("damaged", ["state.json", "shard-*/edge_config.json", "shard-*/segments"])
async def test_a_damaged_folder_is_rebuilt(tmp_path: Path, catalog: Catalog, database_url: str, damaged: str) -> None:
    _, made = await generation(catalog)
    await catalog.publish(made, [version("a", ["fox", "owl"])])
    async with opened(tmp_path, database_url) as index:
        await assert_same_as_exact(index, catalog, made)
        process = await process_of(index)
    await asyncio.wait_for(gone(process), 30)
    for path in (tmp_path / "index").glob(damaged):
        if path.is_dir():
            shutil.rmtree(path)
        path.write_text("{")
    async with opened(tmp_path, database_url) as index:
        await assert_same_as_exact(index, catalog, made)


async def test_a_catalog_made_anew_replaces_what_the_index_held(tmp_path: Path, database_url: str) -> None:
    stale = replace(one_document("acme", "fox"), fingerprint=FINGERPRINT.digest, dimensions=8)
    async with opened(tmp_path, database_url, follow=False) as index:
        await index.apply([stale], 1000)
        process = await process_of(index)
    await asyncio.wait_for(gone(process), 30)
    catalog = await Catalog.open(database_url)
    try:
        _, made = await generation(catalog)
        await catalog.publish(made, [version("a", ["owl"])])
        async with opened(tmp_path, database_url) as index:
            await until(lambda: _level(index, catalog))
            await assert_same_as_exact(index, catalog, made)
            assert (await index.health()).points == 1
    finally:
        await catalog.aclose()


async def test_a_reset_fills_it_anew_at_once(tmp_path: Path, catalog: Catalog, database_url: str) -> None:
    _, made = await generation(catalog)
    await catalog.publish(made, [version(f"{n}", [f"owl {n}", "fox"]) for n in range(20)])
    async with opened(tmp_path, database_url) as index, opened(tmp_path, database_url) as other:
        await assert_same_as_exact(other, catalog, made)
        await index.reset("")
        async with asyncio.timeout(20):  # the change log is looked at unasked after 30 seconds only
            await assert_same_as_exact(index, catalog, made)
            await assert_same_as_exact(other, catalog, made)


async def _level(index: EdgeIndex, catalog: Catalog) -> bool:
    return await index.position() == await catalog.head()


# --- graphs --------------------------------------------------------------------------------------------------------


async def test_a_graph_is_swapped_in_under_searches_and_writes(tmp_path: Path) -> None:
    """Documents are added, replaced and deleted, and a scope dropped, while a graph is built; every search succeeds."""
    exact = ExactIndex()
    large = one_document("a", *(f"fox owl{n}" for n in range(600)))
    small = [replace(large, document_id=one_document("a").document_id) for _ in range(8)]
    other = one_document("b", *["newt"] * 200)
    async with opened(tmp_path, build_after=500) as index:
        stop = asyncio.Event()
        searching = asyncio.create_task(_search_until(index, scope_of(large), stop))
        await asyncio.gather(index.apply([large, other], 1), exact.apply([large], 1))
        for turn in range(40):
            texts = ["fox newt", "lynx"][: turn % 3]
            batch = [replace(small[turn % 8], points=one_document("a", *texts).points)]
            await asyncio.gather(index.apply(batch, turn + 2), exact.apply(batch, turn + 2))
            if turn == 5:
                await index.drop(scope_of(other))
        await built(index, fewer_than=500)
        stop.set()
        assert await searching > 0
        found, wanted = [scores(await ask(each, scope_of(large), ALL)) for each in (index, exact)]
        assert found.keys() == wanted.keys()
        assert await index.scopes() == [scope_of(large)]
        assert all(found[chunk] == pytest.approx(wanted[chunk], abs=1e-3) for chunk in wanted)
        assert len(list((tmp_path / "index").glob("shard-*"))) == 1


async def _search_until(index: EdgeIndex, scope: Scope, stop: asyncio.Event) -> int:
    searches = 0
    while not stop.is_set():
        await ask(index, scope, ALL)
        searches += 1
        await asyncio.sleep(0)
    return searches


async def test_the_graph_finds_what_is_nearest(tmp_path: Path) -> None:
    """15,600 clustered vectors in two scopes, one of them navigated: recall@10 is high, and behind a filter higher."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((200, 32))
    vectors = centres[random.integers(0, 200, 15_600)] + 0.5 * random.standard_normal((15_600, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    ids = [UUID(int=row + 1) for row in range(15_600)]
    scoped = [replace(one_document("a"), dimensions=32), replace(one_document("a"), dimensions=32)]
    side, year = np.arange(15_600) // 100 % 6 == 0, np.arange(15_600) // 100 % 5
    documents = [
        replace(
            scoped[int(side[start])],
            document_id=uuid4(),
            fields={"year": (int(year[start]),)},
            points=tuple(Point(chunk_id=ids[r], text="", vector=vectors[r]) for r in range(start, start + 100)),
        )
        for start in range(0, 15_600, 100)
    ]
    async with opened(tmp_path, build_after=15_600) as index:
        for start in range(0, 156, 26):
            await index.apply(documents[start : start + 26], start + 1)
        await built(index)
        later = Range("year", gte=1)
        for within, where, least in ((side, None, 1.0), (~side, None, 0.97), (~side & (year > 0), later, 0.99)):
            rows = np.flatnonzero(within)
            found = 0
            for query in vectors[random.choice(rows, 50)] + 0.1 * random.standard_normal((50, 32)).astype(np.float32):
                nearest = {ids[row] for row in rows[np.argsort(-(vectors[rows] @ query))[:10]]}
                scope = scope_of(scoped[int(side[rows[0]])])
                hits = await index.search(scope, vector=query, text=None, limit=10, where=where, ef=16)
                found += len(nearest & {hit.chunk_id for hit in hits})
            assert found / 500 >= least
