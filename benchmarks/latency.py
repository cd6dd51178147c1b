"""Latency of retrieval, per stage, over a collection of 50,000 chunks, question embedding included.

    python benchmarks/latency.py [--chunks 50000] [--questions 400]

A few thousand real chunks (docstrings of Python's standard library) are embedded and published many times over as
documents of their own, with some words exchanged and the vectors moved a little: embedding 50,000 chunks would take ten
minutes and change nothing of what is measured here.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from corpus import machine, write_corpus

from ragstone.app import Ragstone, open_ragstone
from ragstone.chunking.make import make_chunker
from ragstone.models import Chunk, Document, NewVersion, Section, Vectors
from ragstone.parsing.parse import parse
from ragstone.settings import IndexSettings, Settings

DOCUMENTS = 100  # real ones, embedded
CHUNKS_EACH = 10  # of a made document
BATCH = 50  # documents in a transaction
GOAL = 8.0  # ms, the median of all of retrieval


async def measure(scratch: Path, chunks: int, questions: int) -> None:
    settings = Settings(data_dir=scratch / "data", index=IndexSettings(linger=1))
    async with open_ragstone(settings) as ragstone:
        base = _real_chunks(ragstone, scratch / "corpus")
        vectors = await ragstone.embedders.present.embed([chunk.embedded for chunk in base], "live")
        start = time.perf_counter()
        await ragstone.upkeep.sync(ragstone.upkeep.source(str(scratch / "corpus")), lambda report: None)
        await _grow(ragstone, base, vectors, chunks)
        published = time.perf_counter() - start
        await ragstone.caught_up(1800)
        applied = time.perf_counter() - start
        print(f"{chunks} chunks: published in {published:.0f} s, applied to the index after {applied:.0f} s")
        await _built(ragstone)
        print(f"graph built {time.perf_counter() - start:.0f} s after the start")
        await _ask(ragstone, _questions(base, questions))
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def _no_sentences(texts: Sequence[str]) -> Vectors:
    raise NotImplementedError("the semantic strategy is not measured here")


def _real_chunks(ragstone: Ragstone, folder: Path) -> list[Chunk]:
    write_corpus(folder, DOCUMENTS)
    embedder = ragstone.embedders.present
    chunker = make_chunker(ragstone.settings.chunking, embedder.count, embedder.max_tokens, _no_sentences)
    documents = (parse(path.read_bytes(), path.name) for path in sorted(folder.iterdir()))
    return [chunk for document in documents for chunk in chunker.chunk(document)]


async def _grow(ragstone: Ragstone, base: Sequence[Chunk], vectors: Vectors, chunks: int) -> None:
    generation = await ragstone.serving()
    made = list(_variations(base, vectors, chunks))
    for start in range(0, len(made), BATCH):
        await ragstone.catalog.publish(generation, made[start : start + BATCH])


def _variations(base: Sequence[Chunk], vectors: Vectors, chunks: int) -> Iterator[NewVersion]:
    rng, noise = random.Random(0), np.random.default_rng(0)
    words = [word for chunk in base for word in chunk.text.split()]
    for number in range(chunks // CHUNKS_EACH):
        picked = [rng.randrange(len(base)) for _ in range(CHUNKS_EACH)]
        document, cut = _document(number, [_changed(base[i].text, words, rng) for i in picked])
        moved = vectors[picked] + noise.normal(
            scale=0.3 / np.sqrt(vectors.shape[1]), size=(CHUNKS_EACH, vectors.shape[1])
        )
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        yield NewVersion(
            uri=f"made:{number}",
            source="made",
            revision="1",
            content_hash=number.to_bytes(32),
            document=document,
            chunks=cut,
            vectors=moved.astype(np.float32),
        )


def _changed(text: str, words: Sequence[str], rng: random.Random) -> str:
    """A tenth of the words exchanged for others."""
    return " ".join(rng.choice(words) if rng.random() < 0.1 else word for word in text.split())


def _document(number: int, texts: Sequence[str]) -> tuple[Document, list[Chunk]]:
    cut: list[Chunk] = []
    for ordinal, text in enumerate(texts):
        start = cut[-1].end + 2 if cut else 0
        cut.append(
            Chunk(ordinal=ordinal, section=0, start=start, end=start + len(text), text=text, prefix="", tokens=200)
        )
    text = "\n\n".join(texts)
    section = Section(ordinal=0, parent=None, level=0, path=(), start=0, end=len(text))
    document = Document(title=f"Made {number}", media_type="text/plain", text=text, sections=(section,), blocks=())
    return document, cut


def _questions(base: Sequence[Chunk], count: int) -> list[str]:
    """Runs of five to ten words of the corpus; questions that people ask have six to nine on average."""
    rng = random.Random(1)
    long = [chunk.text.split() for chunk in base if len(chunk.text.split()) > 20]
    picked = [rng.choice(long) for _ in range(count)]
    starts = [rng.randrange(len(words) - 12) for words in picked]
    return [" ".join(words[s : s + rng.randint(5, 10)]) for words, s in zip(picked, starts, strict=True)]


async def _built(ragstone: Ragstone) -> None:
    """Wait until the HNSW graph covers what was applied."""
    while (health := await ragstone.index.health()).state == "building" or health.unbuilt > 10_000:  # noqa: ASYNC110
        await asyncio.sleep(0.5)


async def _ask(ragstone: Ragstone, questions: Sequence[str]) -> None:
    stages: dict[str, list[float]] = {}
    for question in [*questions[:20], *questions]:
        start = time.perf_counter()
        found = await ragstone.search(question)
        stages.setdefault("all of retrieval", []).append((time.perf_counter() - start) * 1e3)
        for stage in found.trace.stages:
            stages.setdefault(stage.name, []).append(stage.seconds * 1e3)
    print(f"{len(questions)} questions, ms:       p50      p90      p99")
    for name, values in stages.items():
        p50, p90, p99 = np.percentile(values[20:], [50, 90, 99])
        print(f"  {name:20} {p50:10.2f} {p90:8.2f} {p99:8.2f}")
    median = float(np.median(stages["all of retrieval"][20:]))
    print(f"goal: {GOAL:.0f} ms at the median; {'reached' if median < GOAL else 'missed'} ({median:.2f} ms)")


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency of retrieval, per stage.")
    parser.add_argument("--chunks", type=int, default=50_000)
    parser.add_argument("--questions", type=int, default=400)
    arguments = parser.parse_args()
    print(f"latency on {machine()}")
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(measure(Path(scratch), arguments.chunks, arguments.questions))


if __name__ == "__main__":
    main()
