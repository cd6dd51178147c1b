"""The index engines side by side, on the same real texts, vectors and questions, through the one Index protocol.

    python benchmarks/index_engines.py --cache DIR [--texts DIR] [--sizes 100000,500000] [--engines edge,pgvector,exact]
        [--resume] [--markdown docs/engines.md]

For each size and engine: time to write and to build, memory, disk; the least `ef` at which recall@10 is .95 and .99,
with latency and searches a second there; recall and latency under filters that let 50 %, 1 % and .1 % of the documents
through; latency of BM25 and hybrid search; the time from writing or deleting a document until a search shows it.
Questions are passages that were not indexed; what they should find is computed here.

An engine is named by its `index.url`, so that a server can be tried as well (RAGSTONE_INDEX_API_KEY is its key). It is
emptied first, so one that follows a catalog is refused. Each result is kept in the cache folder, one JSON object a
line; with `--resume` those that are there are not measured again. `--markdown` writes the table between the markers of
a page. Two cores take about 25 minutes for 500,000 passages.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from corpus import machine
from engine_corpus import SCOPE, Corpus, ensure, load, replacements
from engine_table import write_table
from engine_truth import samples, truths
from engines import Opened, fill, opened

from ragstone.errors import SettingsError
from ragstone.index.base import Index
from ragstone.index.filter_text import parse
from ragstone.index.filters import Filter
from ragstone.index.recall import Truth
from ragstone.index.tuning import breadths
from ragstone.models import Replacement

SOURCE = "benchmark"  # what an index that was filled here follows
K = 10
QUERIES = 300
CLIENTS = 2  # searches at once, for the throughput
SPAN = 3.0  # seconds in which they search
TARGETS = 0.95, 0.99
SHARES = 0.5, 0.01, 0.001
ASKED = 8  # words of a question
CHANGES = 20  # documents written and deleted, to see when it shows
PATIENCE = 20.0  # seconds that a slow engine is asked the same kind of question
VISIBLE = 30.0  # seconds until a change that does not show is given up

Timed = list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Searches of one kind. Milliseconds of one at a time; `qps` is of CLIENTS at once."""

    recall: float | None
    p50: float
    p99: float
    ef: int | None = None
    qps: float | None = None


@dataclass(slots=True, kw_only=True)
class Result:
    """What one engine did at one size. Bytes are None where it runs elsewhere; `error` when it failed."""

    engine: str
    points: int
    machine: str
    version: str = ""
    write: float = 0.0
    build: float = 0.0
    memory: int | None = None
    disk: int | None = None
    targets: dict[str, Found] = field(default_factory=dict)  # by recall; one that was not reached is missing
    filtered: dict[str, Found] = field(default_factory=dict)  # by share
    bm25: Found | None = None
    hybrid: Found | None = None
    upsert_ms: float | None = None
    delete_ms: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Held-out passages: their vectors and first words, what each should find, and documents to write later."""

    corpus: Corpus
    truth: Sequence[Truth]
    filtered: Mapping[float, tuple[Filter, Sequence[Truth]]]
    changes: Corpus
    first_change: int

    def vector(self, number: int) -> npt.NDArray[np.float32]:
        return np.asarray(self.corpus.vectors[number])

    def words(self, number: int) -> str:
        return " ".join(self.corpus.texts[number].split()[:ASKED])


def questions(whole: Corpus, size: int) -> Questions:
    held_out = whole.rows(size, size + QUERIES)
    vectors = np.asarray(held_out.vectors)
    indexed = whole.rows(0, size)
    drawn = samples(size)
    filtered = {}
    for share in SHARES:
        rows = np.flatnonzero(drawn < share)
        filtered[share] = parse(f"sample < {share}"), truths(indexed, vectors, K, rows)
    return Questions(
        corpus=held_out,
        truth=truths(indexed, vectors, K, np.arange(size)),
        filtered=filtered,
        changes=whole.rows(size + QUERIES, size + QUERIES + CHANGES),
        first_change=size + QUERIES,
    )


# --- one engine ------------------------------------------------------------------------------------------------------


async def measure(url: str, whole: Corpus, size: int, asked: Questions) -> Result:
    result = Result(engine=url, points=size, machine=machine())
    with tempfile.TemporaryDirectory() as folder:
        async with opened(url, Path(folder), build_after=size) as engine:
            position = await load_into(engine, whole.rows(0, size), result)
            index = engine.index
            for step in (sweep, filters, words):
                print(f"  {url}: {step.__name__}", flush=True)
                await step(index, asked, result)
            print(f"  {url}: changes", flush=True)
            await changes(index, asked, position, result)
            result.memory, result.disk = engine.memory(), engine.disk()
    return result


async def load_into(engine: Opened, corpus: Corpus, result: Result) -> int:
    if await engine.index.source() not in ("", SOURCE):
        raise SettingsError("this engine follows a catalog, and would be emptied", hint="name one for benchmarks alone")
    await engine.index.reset(SOURCE)
    start = time.perf_counter()
    position = await fill(engine.index, corpus)
    result.write = time.perf_counter() - start
    print(f"  {result.engine}: written in {result.write:.1f} s", flush=True)
    start = time.perf_counter()
    await engine.build()
    result.build = time.perf_counter() - start
    health = await engine.index.health()
    result.version = health.version
    print(f"  {result.engine}: built in {result.build:.1f} s more, {health.points:,} points", flush=True)
    return position


async def sweep(index: Index, asked: Questions, result: Result) -> None:
    """The least breadth for each target, and the throughput there."""
    wanted = list(TARGETS)
    for ef in breadths(K):
        found = await dense(index, asked, asked.truth, ef=ef)
        while wanted and found.recall is not None and found.recall >= wanted[0]:
            qps = await throughput(index, asked, ef)
            result.targets[str(wanted.pop(0))] = Found(
                recall=found.recall, p50=found.p50, p99=found.p99, ef=ef, qps=qps
            )
        if not wanted:
            break


async def filters(index: Index, asked: Questions, result: Result) -> None:
    """At the breadth that gave the first target without a filter."""
    first = result.targets.get(str(TARGETS[0]))
    for share, (where, truth) in asked.filtered.items():
        result.filtered[str(share)] = await dense(index, asked, truth, ef=first.ef if first else None, where=where)


async def words(index: Index, asked: Questions, result: Result) -> None:
    async def bm25(number: int) -> None:
        await index.search(SCOPE, vector=None, text=asked.words(number), limit=K)

    async def hybrid(number: int) -> None:
        await index.search(SCOPE, vector=asked.vector(number), text=asked.words(number), limit=K)

    result.bm25 = figures(await timed(bm25))
    result.hybrid = figures(await timed(hybrid))


async def dense(
    index: Index, asked: Questions, truth: Sequence[Truth], *, ef: int | None, where: Filter | None = None
) -> Found:
    recalls: list[float] = []

    async def ask(number: int) -> None:
        hits = await index.search(SCOPE, vector=asked.vector(number), text=None, limit=K, ef=ef, where=where)
        recalls.append(truth[number].recall(hits))

    seconds = await timed(ask)
    return figures(seconds, recall=statistics.fmean(recalls[-len(seconds) :]), ef=ef)


async def timed(ask: Callable[[int], Awaitable[None]]) -> Timed:
    """Each question once, one at a time; the first few twice, to warm the caches."""
    for number in range(5):
        await ask(number)
    seconds: Timed = []
    for number in range(QUERIES):
        start = time.perf_counter()
        await ask(number)
        seconds.append(time.perf_counter() - start)
        if sum(seconds) > PATIENCE:
            break
    return seconds


def figures(seconds: Timed, recall: float | None = None, ef: int | None = None) -> Found:
    p50, p99 = (float(value) for value in np.quantile(seconds, (0.5, 0.99)) * 1e3)
    return Found(recall=recall, p50=p50, p99=p99, ef=ef)


async def throughput(index: Index, asked: Questions, ef: int) -> float:
    """Searches a second of so many clients, each with one under way."""
    numbers = cycle(range(QUERIES))
    answered = 0
    start = time.perf_counter()

    async def client() -> None:
        nonlocal answered
        while time.perf_counter() - start < SPAN:
            await index.search(SCOPE, vector=asked.vector(next(numbers)), text=None, limit=K, ef=ef)
            answered += 1

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return answered / (time.perf_counter() - start)


async def changes(index: Index, asked: Questions, position: int, result: Result) -> None:
    """The time from handing a document over, or its end, until a search shows it."""
    shown: Timed = []
    hidden: Timed = []
    for replacement in replacements(asked.changes, first=asked.first_change, together=1):
        position += 1
        shown.append(await visible(index, replacement, replacement, position, there=True))
        position += 1
        hidden.append(await visible(index, replacement, gone(replacement), position, there=False))
    result.upsert_ms, result.delete_ms = statistics.median(shown) * 1e3, statistics.median(hidden) * 1e3


async def visible(index: Index, document: Replacement, change: Replacement, position: int, *, there: bool) -> float:
    (point,) = document.points
    start = time.perf_counter()
    await index.apply([change], position)
    while (waited := time.perf_counter() - start) < VISIBLE:
        hits = await index.search(SCOPE, vector=point.vector, text=None, limit=K)
        if (point.chunk_id in {hit.chunk_id for hit in hits}) == there:
            return time.perf_counter() - start
    raise TimeoutError(f"a change does not show after {waited:.0f} s")


def gone(document: Replacement) -> Replacement:
    return Replacement(
        tenant=document.tenant,
        collection=document.collection,
        generation=document.generation,
        fingerprint=document.fingerprint,
        dimensions=document.dimensions,
        document_id=document.document_id,
        points=(),
    )


# --- all of them -----------------------------------------------------------------------------------------------------


def attempt(url: str, whole: Corpus, size: int, asked: Questions) -> Result:
    """An engine that fails is reported, and the others go on."""
    try:
        return asyncio.run(measure(url, whole, size, asked))
    except Exception as error:  # noqa: BLE001 (whatever an engine on trial may raise)
        traceback.print_exc()
        return Result(engine=url, points=size, machine=machine(), error=f"{type(error).__name__}: {error}")


def known(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="passages and vectors (engine_corpus.py)")
    parser.add_argument("--texts", type=Path, help="text files to fill the cache from")
    parser.add_argument("--sizes", default="100000,500000")
    parser.add_argument("--engines", default="edge,pgvector,exact", help="values of index.url")
    parser.add_argument("--resume", action="store_true", help="measure only what the results lack, or what failed")
    parser.add_argument("--markdown", type=Path, help="a page to write the table into")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    ensure(arguments.cache, max(sizes) + QUERIES + CHANGES, arguments.texts)
    results = arguments.cache / "index_engines.jsonl"
    if not arguments.resume:
        results.unlink(missing_ok=True)
    done = {(row["engine"], row["points"]) for row in known(results) if not row["error"]}
    for size in sizes:
        whole = load(arguments.cache, size + QUERIES + CHANGES)
        todo = [url for url in arguments.engines.split(",") if (url, size) not in done]
        asked = questions(whole, size) if todo else None
        for url in todo:
            assert asked is not None
            print(f"{url}, {size:,} passages", flush=True)
            result = attempt(url, whole, size, asked)
            with results.open("a") as lines:
                lines.write(json.dumps(asdict(result)) + "\n")
    write_table(known(results), arguments.markdown)


if __name__ == "__main__":
    main()
