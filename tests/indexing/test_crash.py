"""kill -9 at random moments of `ragstone index` and `reindex`: the next run ends as an undisturbed one does."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from changing import WORDS
from ragstone.app import open_ragstone
from ragstone.catalog import embedded
from ragstone.catalog.queue import LEASE
from ragstone.settings import ChunkingSettings, IndexSettings, Settings
from remains import content, left_over

KILLS = 10
PARTS = 4  # documents that are new in each run
SEED = 20


def write_parts(folder: Path, numbers: range) -> None:
    words = [f"{kind}{part}" for kind in ("pump", "valve", "gear") for part in ("shaft", "seal", "plate", "spring")]
    folder.mkdir(exist_ok=True)
    for n in numbers:
        rng = random.Random(SEED + n)
        paragraphs = [" ".join(rng.choice(words) for _ in range(60)).capitalize() + "." for _ in range(6)]
        (folder / f"part{n:02}.md").write_text(f"# Part {n}\n\n" + "\n\n".join(paragraphs))


def command(data_dir: Path, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    environment = os.environ | {"RAGSTONE_DATA_DIR": str(data_dir), "RAGSTONE_INDEX_LINGER": "1"} | settings
    return subprocess.Popen(
        [sys.executable, "-m", "ragstone", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def catalog_rows(data_dir: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that the catalog holds, but for times."""
    server = embedded.start(data_dir)
    try:
        with psycopg.connect(server.url) as connection:
            return {
                name: connection.execute(query).fetchall()
                for name, query in {
                    "versions": "SELECT d.uri, v.id, v.number, v.revision, v.content_hash, v.text, v.ended_at IS NULL"
                    " FROM ragstone.versions v JOIN ragstone.documents d ON d.id = v.document ORDER BY 1, 3",
                    "chunks": "SELECT id, version, ordinal, start_offset, end_offset, text, prefix, text_hash"
                    " FROM ragstone.chunks ORDER BY 1",
                    "sections": "SELECT version, ordinal, path FROM ragstone.sections ORDER BY 1, 2",
                    "vectors": "SELECT fingerprint, text_hash, vector FROM ragstone.vectors ORDER BY 1, 2",
                    "documents": "SELECT id, uri, deleted_at IS NULL FROM ragstone.documents ORDER BY 1",
                }.items()
            }
    finally:
        server.stop()


def index_hits(data_dir: Path) -> list[tuple[str, float, float]]:
    """All of them: of some with equal scores the last places would be drawn by chance."""
    question = "pumpshaft and valveseal of the gearspring"
    out = finish(command(data_dir, "explain", "--json", question, RAGSTONE_RETRIEVAL_CANDIDATES="1000"))
    rows = json.loads(out)["candidates"]
    return sorted((row["chunk_id"], round(row["cosine"], 3), round(row["bm25"], 3)) for row in rows)


@pytest.mark.timeout(600)
def test_ten_kills_leave_no_trace(tmp_path: Path) -> None:
    folder, calm, stormy = tmp_path / "docs", tmp_path / "calm", tmp_path / "stormy"
    write_parts(folder, range(PARTS))
    start = time.monotonic()
    finish(command(calm, "index", "--json", str(folder)))
    whole = time.monotonic() - start
    rng = random.Random(SEED)
    killed = 0
    for n in range(KILLS):
        write_parts(folder, range(n * PARTS, (n + 1) * PARTS))
        process = command(stormy, "index", "--json", str(folder))
        try:
            process.communicate(timeout=rng.uniform(0.2, 0.9) * whole)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
    assert killed > 0
    for data_dir in (calm, stormy):
        finish(command(data_dir, "index", "--json", str(folder)))
    assert catalog_rows(stormy) == catalog_rows(calm)
    assert index_hits(stormy) == index_hits(calm)


# --- reindex --------------------------------------------------------------------------------------------------------

REINDEX_KILLS = 4
PARAGRAPHS = 600
"""Of the one long document: each is a chunk, and the first two portions of 256 are saved as they come."""

SMALL = 60
STORED = "SELECT count(*) FROM ragstone.vectors WHERE tenant = 'default'"


def long_and_short(folder: Path) -> None:
    rng = random.Random(SEED)
    folder.mkdir()
    for name, count in [("a-long-one.md", PARAGRAPHS), *((f"short{n:02}.md", 3) for n in range(SMALL))]:
        paragraphs = [" ".join(rng.choices(WORDS, k=16)).capitalize() + "." for _ in range(count)]
        (folder / name).write_text(f"# {name}\n\n" + "\n\n".join(paragraphs))


def stored(url: str) -> int:
    with psycopg.connect(url) as connection:
        ((count,),) = connection.execute(STORED).fetchall()
    return int(count)


async def build(settings: Settings, folder: Path) -> None:
    async with open_ragstone(settings) as ragstone:
        await ragstone.upkeep.sync(ragstone.upkeep.source(str(folder)), lambda report: None)


async def reindex(settings: Settings) -> None:
    async with open_ragstone(settings) as ragstone:
        assert not (await ragstone.upkeep.reindex(lambda report: None, force=True)).objections


async def sweep(settings: Settings) -> None:
    async with open_ragstone(settings) as ragstone:
        await ragstone.upkeep.generations.gc(everything=True)


def kill_during_reindex(process: subprocess.Popen[str], url: str, vectors: int, pause: float) -> None:
    """Once so many more vectors are stored, and a moment has passed."""
    before = stored(url)
    while process.poll() is None and stored(url) < before + vectors:
        time.sleep(0.01)
    time.sleep(pause)
    assert process.poll() is None, "it was done before it was killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.timeout(600)
async def test_a_killed_reindex_goes_on_where_it_was(tmp_path: Path, database_url: str) -> None:
    folder = tmp_path / "docs"
    long_and_short(folder)
    was = Settings(
        data_dir=tmp_path / "data",
        database={"url": database_url},
        index=IndexSettings(url="exact"),
        chunking=ChunkingSettings(max_tokens=32),
    )
    becomes = was.model_copy(update={"chunking": ChunkingSettings(max_tokens=32, prefix=False)})
    await build(was, folder)
    variables = {
        "RAGSTONE_DATABASE_URL": database_url,
        "RAGSTONE_INDEX_URL": "exact",
        "RAGSTONE_CHUNKING_MAX_TOKENS": "32",
        "RAGSTONE_CHUNKING_PREFIX": "false",
    }
    rng = random.Random(SEED)
    for n in range(REINDEX_KILLS):
        process = command(tmp_path / "data", "reindex", "--json", "--force", **variables)
        kill_during_reindex(process, database_url, vectors=n % 3, pause=rng.uniform(0, 0.3))
    await asyncio.sleep(LEASE)
    before = stored(database_url)
    out = finish(command(tmp_path / "data", "reindex", "--json", "--force", **variables))
    assert sum(report["embedded"] for report in json.loads(out)["reports"].values()) == stored(database_url) - before
    calm = {"tenant": "calm"}
    await build(was.model_copy(update=calm), folder)
    await reindex(becomes.model_copy(update=calm))
    for settings in (becomes, becomes.model_copy(update=calm)):
        await sweep(settings)
    assert left_over(database_url) == {}
    assert content(database_url, "default") == content(database_url, "calm")
