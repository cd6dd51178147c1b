"""The index alone: time to write and build, latency of searches through the socket, recall, behind filters too.

    python benchmarks/index.py [--points 50000] [--dimensions 384] [--vectors FILE.npy] [--queries 500]

Without a file, vectors are drawn around a thousand centres. Texts are a hundred words drawn by Zipf's law, and so
are the eight words of a question: commoner words than people ask with, which makes BM25 look slower than it is.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt
from corpus import machine

from ragstone.index.edge.client import EdgeIndex
from ragstone.index.filters import Filter, Range
from ragstone.models import Point, Replacement, Scope, Vectors

SCOPE = Scope(tenant="bench", generation=UUID(int=1), fingerprint="bench")
VOCABULARY, WORDS, ASKED = 30_000, 100, 8
CHUNKS_EACH, BATCH = 10, 128  # of a document; documents at a time
LIMIT = 50
BREADTHS = (32, 64, 128, 256)
SHARES = (0.5, 0.1, 0.01, 0.001)

Rows = npt.NDArray[np.int64]


def clustered(points: int, dimensions: int, random: np.random.Generator) -> Vectors:
    centres = random.standard_normal((1_000, dimensions), dtype=np.float32)
    drawn = centres[random.integers(0, 1_000, points)] + random.standard_normal((points, dimensions), dtype=np.float32)
    return unit(drawn)


def unit(vectors: Vectors) -> Vectors:
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def words(texts: int, length: int, random: np.random.Generator) -> list[str]:
    share = 1 / np.arange(1, VOCABULARY + 1)
    drawn = random.choice(VOCABULARY, size=(texts, length), p=share / share.sum())
    return [" ".join(f"w{word}x" for word in row) for row in drawn]


def documents(vectors: Vectors, texts: Sequence[str]) -> Iterator[Replacement]:
    for start in range(0, len(vectors), CHUNKS_EACH):
        rows = range(start, min(start + CHUNKS_EACH, len(vectors)))
        points = [Point(chunk_id=UUID(int=row), text=texts[row], vector=vectors[row]) for row in rows]
        yield Replacement(
            tenant=SCOPE.tenant,
            collection=UUID(int=0),
            generation=SCOPE.generation,
            fingerprint=SCOPE.fingerprint,
            dimensions=vectors.shape[1],
            document_id=UUID(int=start),
            points=tuple(points),
            fields={"sample": (float(sample(start // CHUNKS_EACH)),)},
        )


def sample(documents: int | Rows) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each, evenly spread."""
    return np.asarray(documents) * 0.6180339887498949 % 1


async def fill(index: EdgeIndex, vectors: Vectors, texts: Sequence[str]) -> None:
    replacements = list(documents(vectors, texts))
    start = time.perf_counter()
    for position in range(0, len(replacements), BATCH):
        await index.apply(replacements[position : position + BATCH], position + 1)
    print(f"written and durable in {time.perf_counter() - start:.1f} s ({BATCH} documents at a time)")


async def built(index: EdgeIndex) -> None:
    start = time.perf_counter()
    while (health := await index.health()).state == "building" or health.unbuilt:  # noqa: ASYNC110 (in another process)
        await asyncio.sleep(0.1)
    print(f"graph built and swapped in {time.perf_counter() - start:.1f} s later")


async def timed(
    name: str, index: EdgeIndex, vectors: Iterable[npt.NDArray[np.float32] | None], texts: Iterable[str | None]
) -> None:
    seconds = []
    for vector, text in zip(vectors, texts, strict=False):
        start = time.perf_counter()
        await index.search(SCOPE, vector=vector, text=text, limit=LIMIT)
        seconds.append(time.perf_counter() - start)
    p50, p99 = np.quantile(seconds, (0.5, 0.99)) * 1e3
    print(f"{name:24} p50 {p50:6.2f} ms   p99 {p99:6.2f} ms")


async def latencies(index: EdgeIndex, queries: Vectors, questions: Sequence[str]) -> None:
    await timed("dense", index, queries, repeat(None))
    await timed("bm25", index, repeat(None), questions)
    await timed("hybrid", index, queries, questions)


async def recall(index: EdgeIndex, queries: Vectors, nearest: Rows, where: Filter | None = None) -> float:
    """Of the ten nearest that pass, the share that a search for ten finds."""
    found = 0
    for query, rows in zip(queries, nearest, strict=True):
        hits = await index.search(SCOPE, vector=query, text=None, limit=10, where=where)
        found += len({hit.chunk_id.int for hit in hits} & set(rows.tolist()))
    return found / nearest.size


async def filtered(index: EdgeIndex, queries: Vectors, vectors: Vectors) -> None:
    of = sample(np.arange(len(vectors)) // CHUNKS_EACH)
    for share in SHARES:
        rows = np.flatnonzero(of < share)
        nearest = rows[np.argsort(-(queries @ vectors[rows].T), axis=1)[:, :10]]
        start = time.perf_counter()
        found = await recall(index, queries, nearest, Range("sample", lt=share))
        each = (time.perf_counter() - start) / len(queries) * 1e3
        print(f"behind a filter that {share:6.1%} pass: recall@10 {found:.4f}, mean {each:.2f} ms")


async def measure(data_dir: Path, vectors: Vectors, queries: int) -> None:
    random = np.random.default_rng(2)
    noise = 0.03 * random.standard_normal((queries, vectors.shape[1]))
    asked = (vectors[random.integers(0, len(vectors), queries)] + noise).astype(np.float32)
    nearest = np.argsort(-(asked @ vectors.T), axis=1)[:, :10]
    texts, questions = words(len(vectors), WORDS, random), words(queries, ASKED, random)
    index = EdgeIndex.open(data_dir, None, linger=1, follow=False, build_after=len(vectors))
    await fill(index, vectors, texts)
    await built(index)
    await latencies(index, asked, questions)
    for ef in BREADTHS:
        other = EdgeIndex.open(data_dir, None, ef=ef, follow=False)
        print(f"recall@10 at ef {ef:4}: {await recall(other, asked, nearest):.4f}")
        await other.aclose()
    await filtered(index, asked, vectors)
    await index.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--vectors", type=Path, help="a numpy file [n, dimensions] of float32 to use instead")
    parser.add_argument("--queries", type=int, default=500)
    arguments = parser.parse_args()
    if arguments.vectors:
        vectors = unit(np.load(arguments.vectors)[: arguments.points])
    else:
        vectors = clustered(arguments.points, arguments.dimensions, np.random.default_rng(1))
    print(f"index on {machine()}: {vectors.shape[0]} points of {vectors.shape[1]} dimensions, limit {LIMIT}")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), vectors, arguments.queries))


if __name__ == "__main__":
    main()
