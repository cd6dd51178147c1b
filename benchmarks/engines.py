"""Engines for the benchmarks: opened by URL in a folder of their own, with what they take of memory and disk."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psutil  # type: ignore[import-untyped]
import psycopg
from engine_corpus import Corpus, replacements
from pydantic import SecretStr

from ragstone.catalog import embedded
from ragstone.catalog.catalog import Catalog
from ragstone.index.base import Index
from ragstone.parts import make_index
from ragstone.settings import IndexSettings, Settings

BATCH = 128  # documents applied at once, as the applier does
QUIET = 2.0  # seconds in which no build begins

TABLES = """
    SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^(pg_|information_schema)'
"""
NOT_SEARCHED = "SELECT pg_relation_size('ragstone_index.postings')"
"""Searches read postings from their index alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An engine in use. Bytes are None where it runs elsewhere."""

    index: Index
    build: Callable[[], Awaitable[None]]  # until its graphs are built
    processes: Callable[[], list[psutil.Process]] = list  # that do its work, besides this one
    memory: Callable[[], int | None] = lambda: None  # of the processes that hold it
    disk: Callable[[], int | None] = lambda: None
    log: Callable[[], int] = lambda: 0  # of that, in a log of what was written last, which stays below some limit


@asynccontextmanager
async def opened(url: str, folder: Path, build_after: int | None = None) -> AsyncIterator[Opened]:
    """`build_after`: points that edge gathers before it builds a graph; its own number otherwise."""
    async with AsyncExitStack() as stack:
        if url == "edge":
            stack.callback(_await_end)
            engine = _edge(folder, build_after)
        elif url == "pgvector":
            server = embedded.start(folder)
            stack.callback(server.stop)
            await stack.enter_async_context(aclosing(await Catalog.open(server.url)))
            engine = _pgvector(server.url, folder / "postgres" / "postmaster.pid")
        else:
            engine = _other(url, folder)
        async with aclosing(engine.index):
            yield engine


def _edge(folder: Path, build_after: int | None) -> Opened:
    from ragstone.index.edge.client import EdgeIndex

    own = {} if build_after is None else {"build_after": build_after}
    index = EdgeIndex.open(folder, None, linger=1, follow=False, **own)
    return Opened(
        index=index,
        build=lambda: settled(index),
        processes=children,
        memory=lambda: resident(children()),
        disk=lambda: stored(folder),
        log=lambda: stored(folder, "wal"),
    )


def _await_end() -> None:
    """Of the process of edge, which stays a second for others."""
    psutil.wait_procs(children(), timeout=60)


def _pgvector(url: str, started: Path) -> Opened:
    """Its memory is what searches read of its tables, for that must be cached; its own processes hold less."""
    from ragstone.index.pgvector import PgvectorIndex

    index = PgvectorIndex.open(url)
    empty = queried(url, TABLES)
    server = psutil.Process(int(started.read_text().split("\n", 1)[0]))

    async def build() -> None:
        await index.maintain()
        await settled(index)

    return Opened(
        index=index,
        build=build,
        processes=lambda: [server, *server.children()],
        memory=lambda: queried(url, TABLES) - empty - queried(url, NOT_SEARCHED),
        disk=lambda: queried(url, TABLES) - empty,
    )


def _other(url: str, folder: Path) -> Opened:
    index = make_index(_settings(url, folder), "", embedded=False)
    if url != "exact":
        return Opened(index=index, build=lambda: settled(index))
    here = [psutil.Process()]
    before = resident(here)
    return Opened(index=index, build=lambda: settled(index), memory=lambda: resident(here) - before, disk=lambda: 0)


def _settings(url: str, folder: Path) -> Settings:
    key = os.environ.get("RAGSTONE_INDEX_API_KEY")
    return Settings(data_dir=folder, index=IndexSettings(url=url, api_key=SecretStr(key) if key else None))


def children() -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


def resident(processes: Iterable[psutil.Process]) -> int:
    """Bytes that processes hold in memory, what they have read of mapped files included."""
    held = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            held += process.memory_info().rss
    return held


def worked(processes: Iterable[psutil.Process]) -> float:
    """Processor seconds that processes have used, those of their children that have ended included."""
    seconds = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:4])
    return seconds


def stored(folder: Path, below: str | None = None) -> int:
    """Bytes on the disk in a folder, or in all folders of a name in it; holes in files not counted."""
    held = 0
    for parent, _, names in os.walk(folder):
        for name in names if below is None or below in Path(parent).parts else ():
            with suppress(FileNotFoundError):  # it was there when the folder was listed
                held += (Path(parent) / name).lstat().st_blocks * 512
    return held


def queried(url: str, query: LiteralString) -> int:
    """The one number that a query gives."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


async def fill(index: Index, corpus: Corpus, *, first: int = 0, position: int = 0) -> int:
    """Apply a corpus in batches; gives the position reached."""
    batch = []
    for replacement in replacements(corpus, first=first):
        batch.append(replacement)
        if len(batch) == BATCH:
            position += 1
            await index.apply(batch, position)
            batch = []
    position += 1
    await index.apply(batch, position)
    return position


async def settled(index: Index) -> None:
    """Until nothing is being built nor about to be."""
    ended = time.perf_counter()
    while time.perf_counter() - ended < QUIET:
        health = await index.health()
        if health.state == "building":
            ended = time.perf_counter()
        elif not health.unbuilt:
            break
        await asyncio.sleep(0.1)
