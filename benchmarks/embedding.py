"""Local embeddings: chunks a second, time of a short question, closeness of 8-bit vectors to fp32, start, memory.

    python benchmarks/embedding.py [--chunks 200] [--folder PATH]

The chunks are about 200 tokens of the text files in the folder; without one, of the docstrings of Python's standard
library. Speeds are those of this machine at this moment: compare ratios, and run it when nothing else runs.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path

from corpus import machine, write_corpus

from ragstone.embedding.choosing import origin_of
from ragstone.embedding.files import cache_folder, pull
from ragstone.embedding.local import LocalEmbedder
from ragstone.embedding.precision import Precision, best_precision
from ragstone.models import Vectors

MODEL, CHUNK_TOKENS, SEED = "all-MiniLM-L6-v2", 200, 7
QUESTION = "How many weeks of parental leave are there?"


def chunks(folder: Path, count: int) -> list[str]:
    """So many pieces of the text, drawn with a fixed seed."""
    words = " ".join(
        path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.md"))
    ).split()
    tokens = LocalEmbedder.open(MODEL).count
    size = CHUNK_TOKENS * 2000 // tokens(" ".join(words[:2000]))
    pieces = [" ".join(words[start : start + size]) for start in range(0, len(words), size)]
    fitting = [piece for piece in pieces if tokens(piece) <= 254]
    return random.Random(SEED).sample(fitting, min(count, len(fitting)))


async def speed(texts: list[str], precision: Precision, threads: int) -> float:
    """Chunks a second."""
    embedder = LocalEmbedder.open(MODEL, precision=precision, threads=threads)
    await embedder.embed(texts[:4], "live")
    start = time.perf_counter()
    await embedder.embed(texts, "live")
    seconds = time.perf_counter() - start
    await embedder.aclose()
    return len(texts) / seconds


async def question_ms(precision: Precision, busy_with: list[str]) -> tuple[float, float]:
    """Median and 99th percentile of a short question's time, beside bulk work when there is any."""
    embedder = LocalEmbedder.open(MODEL, precision=precision)
    await embedder.embed([QUESTION], "query")
    bulk = asyncio.create_task(embedder.embed(busy_with, "live"))
    await asyncio.sleep(0.1)
    times: list[float] = []
    while len(times) < 200 and (not busy_with or not bulk.done()):
        start = time.perf_counter()
        await embedder.embed([QUESTION], "query")
        times.append((time.perf_counter() - start) * 1000)
        await asyncio.sleep(0.005)
    bulk.cancel()
    await asyncio.gather(bulk, return_exceptions=True)
    await embedder.aclose()
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


async def vectors(texts: list[str], precision: Precision) -> Vectors:
    embedder = LocalEmbedder.open(MODEL, precision=precision)
    found = await embedder.embed(texts, "live")
    await embedder.aclose()
    return found


def start_ms() -> float:
    """From nothing loaded to the first vector."""
    start = time.perf_counter()
    asyncio.run(vectors([QUESTION], best_precision()))
    return (time.perf_counter() - start) * 1000


def peak_mb(texts: list[str]) -> float:
    """Of a process that embeds the texts."""
    asyncio.run(vectors(texts, best_precision()))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(texts: list[str]) -> None:
    best = best_precision()
    print(f"{machine()}; {MODEL}, {best}, {len(texts)} chunks of about {CHUNK_TOKENS} tokens")
    asyncio.run(vectors(texts[:1], best))  # builds the graph, once
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
        print(f"start to first vector   {fresh.apply(start_ms):7.0f} ms")
        print(f"peak memory             {fresh.apply(peak_mb, (texts,)):7.0f} MB")
    for threads in (1, 2):
        print(f"{threads} thread(s)             {asyncio.run(speed(texts, best, threads)):7.1f} chunks/s")
    for name, work in (("alone", []), ("beside bulk", texts)):
        median, worst = asyncio.run(question_ms(best, work))
        print(f"question, {name:11}   {median:7.2f} ms median, {worst:.2f} ms p99")
    exact = asyncio.run(vectors(texts, "fp32"))
    precisions: tuple[Precision, ...] = ("int8", "int7")
    for precision in precisions:
        cosines = (asyncio.run(vectors(texts, precision)) * exact).sum(1)
        print(f"cosine {precision} to fp32     {cosines.mean():7.4f} mean, {cosines.min():.4f} least")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    pull(origin_of(MODEL), cache_folder(None))
    with tempfile.TemporaryDirectory() as scratch:
        write_corpus(Path(scratch), 200)
        report(chunks(arguments.folder or Path(scratch), arguments.chunks))


if __name__ == "__main__":
    main()
