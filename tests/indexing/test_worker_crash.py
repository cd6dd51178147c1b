"""kill -9 of workers at random moments while documents change: nothing is lost, doubled, mixed, or left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, LiteralString, TypeAlias
from uuid import UUID

import psycopg
import pytest

from changing import WORDS, Changing
from ragstone.app import Ragstone, open_ragstone
from ragstone.catalog.queue import LEASE
from ragstone.errors import NothingIndexed
from ragstone.index.edge.client import EdgeIndex
from ragstone.index.edge.endpoint import Endpoint
from ragstone.models import Collection, scope_of
from ragstone.settings import RetrievalSettings, Settings, load
from remains import content, left_over
from workers import WorkerProcess, left_behind

KILLS = int(os.environ.get("RAGSTONE_TEST_KILLS", "100"))
SEED = int(os.environ.get("RAGSTONE_TEST_SEED", "1"))
DOCUMENTS = 120  # to begin with
EARLY = 0.2  # share of workers that are not given time to start
OF_THE_INDEX = 12  # kills of a worker between two of the index process

CONFIGURATION = """
data_dir = "data"
[database]
url = "{url}"
[index]
linger = 1
[chunking]
max_tokens = 32
[sources.docs]
kind = "folder"
path = "docs"
debounce = 0.05
[sources.feed]
kind = "push"
"""

Rows: TypeAlias = list[tuple[Any, ...]]

VERSIONS = """
SELECT v.id, d.uri, v.content_hash, v.text FROM ragstone.versions v
JOIN ragstone.documents d ON d.tenant = v.tenant AND d.id = v.document
WHERE v.tenant = 'default' AND v.ended_at IS NULL
"""

CHUNKS = """
SELECT c.version, c.ordinal, c.start_offset, c.end_offset, c.text, x.vector IS NOT NULL FROM ragstone.chunks c
LEFT JOIN ragstone.versions v ON v.tenant = c.tenant AND v.id = c.version
LEFT JOIN ragstone.generations g ON g.tenant = v.tenant AND g.id = v.generation
LEFT JOIN ragstone.vectors x ON x.tenant = c.tenant AND x.fingerprint = g.fingerprint AND x.text_hash = c.text_hash
WHERE c.tenant = 'default' ORDER BY c.version, c.ordinal
"""

DELETED_AND_SERVED = """
SELECT d.uri FROM ragstone.documents d
JOIN ragstone.versions v ON v.tenant = d.tenant AND v.document = d.id AND v.ended_at IS NULL
WHERE d.deleted_at IS NOT NULL
"""

KILLED_AT_WORK = """
SELECT DISTINCT w.id FROM ragstone_queue.procrastinate_workers w
JOIN ragstone_queue.procrastinate_jobs j ON j.worker_id = w.id
WHERE j.status = 'doing' AND w.last_heartbeat < now() - interval '5 s'
"""


@pytest.mark.timeout(600 + 6 * KILLS)
async def test_workers_killed_at_any_moment_leave_what_a_fresh_build_makes(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "ragstone.toml").write_text(CONFIGURATION.format(url=database_url))
    rng = random.Random(SEED)
    async with open_ragstone(load(tmp_path / "ragstone.toml")) as ragstone:
        changing = Changing(tmp_path / "docs", await ragstone.upkeep.push("feed"), random.Random(SEED))
        changing.create_many(DOCUMENTS)
        reader = Reader(ragstone, changing, database_url)
        async with beside(keep_changing(changing, rng), reader.run()):
            await kill_workers(ragstone, tmp_path, rng)
        await finish(ragstone, tmp_path)
        print(
            f"{KILLS} kills, {len(reader.killed_at_work)} at work; {reader.looks} looks at {reader.versions} versions"
        )
        assert len(reader.killed_at_work) >= KILLS // 4
        assert reader.versions >= KILLS
        assert await reader.look() == {uri: sha256(data).digest() for uri, data in changing.now.items()}
        assert left_over(database_url) == {}
        await ragstone.upkeep.generations.gc(everything=True)
        async with built_afresh(ragstone.settings, changing) as fresh:
            assert content(database_url, "default") == content(database_url, "fresh")
            assert await hits(ragstone) == await hits(fresh)
    await nothing_runs(tmp_path)


# --- the storm ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Endless work beside the block; what fails in it fails the block."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one) for one in work]
        yield
        for task in running:
            task.cancel()


async def keep_changing(changing: Changing, rng: random.Random) -> None:
    while True:
        for _ in range(rng.randint(1, 4)):
            await changing.change()
        await asyncio.sleep(rng.uniform(0.02, 0.3))


async def kill_workers(ragstone: Ragstone, folder: Path, rng: random.Random) -> None:
    """Two workers at a time, killed in turn: some at their start, most a moment after their first document."""
    assert isinstance(ragstone.index, EdgeIndex)
    async with WorkerProcess.several(2, folder, "docs") as workers:
        for n in range(KILLS):
            turn = n % 2
            if rng.random() < EARLY:
                await asyncio.sleep(rng.uniform(0, 1.5))
            else:
                await workers[turn].says(" chunks, ")
                await asyncio.sleep(rng.uniform(0, 1.2))
            await workers[turn].kill()
            if n % OF_THE_INDEX == 0:
                os.kill(int((await ragstone.index.health()).details["process"]), signal.SIGKILL)
            workers[turn] = await WorkerProcess.start(folder, "docs")


async def finish(ragstone: Ragstone, folder: Path) -> None:
    """Let a last worker do what is left. The push source is not followed: what was pushed must be in the queue.

    It starts when all leases of the dead have ended, so that nothing is to be left of them.
    """
    await asyncio.sleep(LEASE)
    queue, known = ragstone.catalog.queue, await collection(ragstone)
    async with asyncio.timeout(120), WorkerProcess.several(1, folder, "docs") as (worker,):
        await worker.says("source docs: ")
        while await queue.jobs(known) or await ragstone.lag():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.2)
        await worker.stop()


async def collection(ragstone: Ragstone) -> Collection:
    return await ragstone.catalog.ensure_collection(ragstone.settings.tenant, ragstone.settings.collection)


# --- what readers see meanwhile -------------------------------------------------------------------------------------


class Reader:
    """Looks at the catalog, and searches, again and again: whatever is served is one content of its document, whole."""

    def __init__(self, ragstone: Ragstone, changing: Changing, url: str) -> None:
        self.killed_at_work: set[int] = set()
        self.looks = self.versions = 0
        self._ragstone = ragstone
        self._changing = changing
        self._url = url
        self._rng = random.Random(SEED)
        self._served: dict[str, int] = {}

    async def run(self) -> None:
        while True:
            await self.look()
            await self._search()
            await asyncio.sleep(0.5)

    async def look(self) -> dict[str, bytes]:
        """The content of each document that is served, by its hash."""
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            self.killed_at_work.update(key for (key,) in await rows(connection, KILLED_AT_WORK))
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            versions, chunks = await rows(connection, VERSIONS), await rows(connection, CHUNKS)
            deleted = await rows(connection, DELETED_AND_SERVED)
        assert deleted == []
        self._judge(versions, chunks)
        self.looks += 1
        self.versions += len(versions)
        return {uri: content_hash for _, uri, content_hash, _ in versions}

    def _judge(self, versions: Rows, chunks: Rows) -> None:
        of_version: dict[UUID, Rows] = {key: [] for key, *_ in versions}
        for version, *chunk in chunks:
            of_version[version].append(tuple(chunk))
        assert len({uri for _, uri, *_ in versions}) == len(versions), "a document is served twice"
        for key, uri, content_hash, text in versions:
            assert text == self._changing.text(content_hash), uri
            assert_whole(text, of_version[key])
            self._never_goes_back(uri, content_hash)

    def _never_goes_back(self, uri: str, content_hash: bytes) -> None:
        first, last = self._changing.history[uri][content_hash]
        assert last >= self._served.get(uri, 0), f"{uri} is served as it was before"
        self._served[uri] = max(first, self._served.get(uri, 0))

    async def _search(self) -> None:
        every = RetrievalSettings(min_cosine=-1, top_k=20, duplicate=1)
        with contextlib.suppress(NothingIndexed):
            found = await self._ragstone.search(" ".join(self._rng.choices(WORDS, k=5)), every)
            for passage in found.passages:
                texts = map(self._changing.text, self._changing.history[passage.uri])
                assert any(text[passage.start : passage.end] == passage.text for text in texts), passage


async def rows(connection: psycopg.AsyncConnection[Any], query: LiteralString) -> Rows:
    return await (await connection.execute(query)).fetchall()


def assert_whole(text: str, chunks: Rows) -> None:
    """All chunks of one version are there, with their vectors, and nothing of its text is in none."""
    covered = bytearray(len(text))
    assert [ordinal for ordinal, *_ in chunks] == list(range(len(chunks)))
    for _, start, end, chunk, has_vector in chunks:
        assert has_vector
        assert text[start:end] == chunk
        covered[start:end] = b"\1" * (end - start)
    assert all(done or character.isspace() for done, character in zip(covered, text, strict=True))


# --- what is there in the end ---------------------------------------------------------------------------------------


@asynccontextmanager
async def built_afresh(settings: Settings, changing: Changing) -> AsyncIterator[Ragstone]:
    """Another tenant's build of what is there now."""
    async with open_ragstone(settings.model_copy(update={"tenant": "fresh"})) as ragstone:
        push = await ragstone.upkeep.push("feed")
        for uri, data in changing.now.items():
            if uri.startswith(push.prefix):
                assert await push.put(uri.removeprefix(push.prefix), data)
        for source in (push, ragstone.upkeep.source("docs")):
            await ragstone.upkeep.sync(source, lambda report: None)
        yield ragstone


async def hits(ragstone: Ragstone) -> Rows:
    """What the index gives for some questions: all that it holds, each with its cosine; and how many there are."""
    assert await ragstone.caught_up(60)
    generation = await ragstone.serving()
    scope = scope_of(generation)
    count = await ragstone.index.count(scope)
    found: Rows = [("count", count, 0.0)]
    rng = random.Random(SEED)
    for _ in range(5):
        question = " ".join(rng.choices(WORDS, k=5))
        (vector,) = await ragstone.embedders.of(generation).embed([question], "query")
        hits = await ragstone.index.search(scope, vector=vector, text=question, limit=count)
        chunks = await ragstone.catalog.chunks(generation.id, generation.tenant, [hit.chunk_id for hit in hits])
        assert chunks.keys() == {hit.chunk_id for hit in hits}, "the index holds what is served no more"
        found += sorted((chunks[h.chunk_id].uri, chunks[h.chunk_id].text, round(h.cosine or 0, 3)) for h in hits)
    return found


async def nothing_runs(folder: Path) -> None:
    """The index process ends once nobody calls it."""
    async with asyncio.timeout(30):
        while left_behind(folder) or Endpoint(folder / "data").answers():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
