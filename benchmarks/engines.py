"""Engines for the benchmarks: opened by URL in a folder of their own, with what they take of memory and disk."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

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

RELATIONS = """
    SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^(pg_|information_schema)'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An engine in use. Bytes are None where it runs elsewhere."""

    index: Index
    memory: Callable[[], int | None] = lambda: None  # of the processes that hold it
    disk: Callable[[], int | None] = lambda: None


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
            engine = _pgvector(folder, server.url)
        else:
            index = make_index(_settings(url, folder), "", embedded=False)
            here = [psutil.Process()]
            memory = (lambda: resident(here)) if url == "exact" else lambda: None
            engine = Opened(index=index, memory=memory)
        async with aclosing(engine.index):
            yield engine


def _edge(folder: Path, build_after: int | None) -> Opened:
    from ragstone.index.edge.client import EdgeIndex

    own = {} if build_after is None else {"build_after": build_after}
    index = EdgeIndex.open(folder, None, linger=1, follow=False, **own)
    return Opened(index=index, memory=lambda: resident(children()), disk=lambda: stored(folder))


def _await_end() -> None:
    """Of the process of edge, which stays a second for others."""
    psutil.wait_procs(children(), timeout=60)


def _pgvector(folder: Path, url: str) -> Opened:
    """What searches need in PostgreSQL's buffers and the system's cache is its tables; its processes hold less."""
    empty = relations(url)
    index = make_index(_settings("pgvector", folder), url, embedded=True)
    return Opened(index=index, memory=lambda: relations(url) - empty, disk=lambda: relations(url) - empty)


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


def stored(folder: Path) -> int:
    """Bytes on the disk below a folder, holes in files not counted."""
    held = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # it was there when the folder was listed
                held += (Path(parent) / name).lstat().st_blocks * 512
    return held


def relations(url: str) -> int:
    """Bytes of all tables of a database with their indexes."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(RELATIONS).fetchone()
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


async def settled(index: Index) -> float:
    """Until nothing is being built nor about to be; gives the seconds until then."""
    start = ended = time.perf_counter()
    while time.perf_counter() - ended < QUIET:
        health = await index.health()
        if health.state == "building":
            ended = time.perf_counter()
        elif not health.unbuilt:
            break
        await asyncio.sleep(0.1)
    return ended - start
