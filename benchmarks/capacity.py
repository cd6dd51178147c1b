"""The coefficients of `ragstone capacity`: measured, fitted, and tried on a build that was not fitted.

    python benchmarks/capacity.py --cache DIR [--engines edge,pgvector] [--sizes 40000,70000,100000] [--check 200000]
        [--texts DIR] [--resume] [--write]

Real vectors (engine_corpus.py makes them) go into each engine at several sizes, dimensions and lengths of text, and
into a catalog. Times are processor seconds, which other work on the machine hardly changes: of a build divided by the
cores, all of which it uses. What each takes is fitted by least squares (capacity_fit.py). `--write` puts the
coefficients where `ragstone capacity` reads them. `--check` then builds another size and prints predicted by measured.
What was measured is kept in the cache folder, one JSON object a line; `--resume` goes on from there.

Sizes should be of 40,000 and more: below, the engines' logs and least files are most of what they take.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from threading import Event, Thread
from typing import Literal

import numpy as np
import psutil  # type: ignore[import-untyped]
from capacity_fit import TIMED, WAL, Case, Measured, fitted
from catalog_load import fill_catalog
from corpus import machine, write_corpus
from engine_corpus import MODEL, SCOPE, Corpus, ensure, load
from engines import fill, opened, worked

from embedding import chunks, speed
from ragstone.embedding.local import LocalEmbedder
from ragstone.embedding.precision import Precision, best_precision
from ragstone.index.capacity import Coefficients, Demand, estimate, load_coefficients

WARM = 200  # searches before memory is read
CATALOGS = 10_000, 20_000  # chunks: tables grow in proportion from the beginning
LONG = 5  # passages in one long text


def corpus_of(cache: Path, case: Case) -> Corpus:
    corpus = load(cache, case.chunks * case.together).joined(case.together).stretched(case.dimensions)
    if len(corpus) < case.chunks:
        raise SystemExit(f"{cache} holds passages for {len(corpus)} chunks, not {case.chunks}")
    return corpus


def tokens_of(corpus: Corpus) -> float:
    count = LocalEmbedder.open(MODEL).count
    return statistics.fmean(count(text) for text in corpus.texts[:: max(1, len(corpus) // 500)])


async def measure_engine(cache: Path, case: Case) -> Measured:
    corpus = corpus_of(cache, case)
    with tempfile.TemporaryDirectory() as folder:
        async with opened(case.engine, Path(folder), build_after=case.chunks) as engine:
            await engine.index.position()
            here = [psutil.Process()]
            start = worked([*engine.processes(), *here])
            await fill(engine.index, corpus)
            written = worked([*engine.processes(), *here])
            with peak(engine.memory) as most_memory, peak(engine.disk) as most_disk:
                start_of_build = worked(engine.processes())
                await engine.build()
                build = (worked(engine.processes()) - start_of_build) / cores()
            for row in range(WARM):
                vector, text = np.asarray(corpus.vectors[row]), corpus.texts[-row]
                await engine.index.search(SCOPE, vector=vector, text=text, limit=20)
            memory, disk, log = engine.memory() or 0, engine.disk() or 0, engine.log()
    return Measured(
        case=case,
        tokens=tokens_of(corpus),
        memory=memory,
        disk=disk - log,
        log=log,
        building_memory=max(0.0, most_memory[0] - memory),
        building_disk=max(0.0, most_disk[0] - disk),
        write=written - start,
        build=build,
    )


async def measure_catalog(cache: Path, case: Case) -> Measured:
    corpus = corpus_of(cache, case)
    with tempfile.TemporaryDirectory() as folder:
        disk = await fill_catalog(Path(folder), corpus, case.chunks_per_document)
    return Measured(case=case, tokens=tokens_of(corpus), disk=disk)


@contextmanager
def peak(held: Callable[[], int | None]) -> Iterator[list[float]]:
    """The most that is held while the context lasts, as the list's one element."""
    most, done = [0.0], Event()

    def watch() -> None:
        while not done.wait(0.2):
            most[0] = max(most[0], held() or 0)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def cases(engines: Sequence[str], sizes: Sequence[int]) -> list[Case]:
    """Every size with the real vectors; the least with more dimensions and longer texts; and catalogs."""
    least, *_ = ordered = sorted(sizes)
    found: list[Case] = []
    for engine in engines:
        found += [Case(engine=engine, chunks=size) for size in ordered]
        found += [Case(engine=engine, chunks=least, dimensions=1024), Case(engine=engine, chunks=least, together=LONG)]
    small, large = CATALOGS
    return [
        *found,
        Case(engine="catalog", chunks=small),
        Case(engine="catalog", chunks=large),
        Case(engine="catalog", chunks=small, dimensions=1024),
        Case(engine="catalog", chunks=small, together=LONG),
        Case(engine="catalog", chunks=small, chunks_per_document=1),
    ]


def measured(cache: Path, case: Case, results: Path) -> Measured:
    """From the results of an earlier run, or now."""
    for line in results.read_text().splitlines() if results.exists() else ():
        earlier = json.loads(line)
        if Case(**earlier["case"]) == case:
            return Measured(**earlier | {"case": case})
    print(f"measuring {case.engine}: {case.chunks:,} x {case.dimensions}, {case.together} passages a chunk", flush=True)
    found = asyncio.run((measure_catalog if case.engine == "catalog" else measure_engine)(cache, case))
    with results.open("a") as lines:
        lines.write(json.dumps(asdict(found)) + "\n")
    return found


def embedding_speed() -> dict[Literal["int8", "fp32"], float]:
    """Tokens a second of the default model on all cores, by precision."""
    with tempfile.TemporaryDirectory() as scratch:
        write_corpus(Path(scratch), 200)
        texts = chunks(Path(scratch), 120)
    tokens = sum(map(LocalEmbedder.open(MODEL).count, texts))
    found: dict[Literal["int8", "fp32"], float] = {}
    precisions: dict[Literal["int8", "fp32"], Precision] = {"int8": best_precision(), "fp32": "fp32"}
    for name, precision in precisions.items():
        asyncio.run(speed(texts[:4], precision, cores()))  # builds the graph, once
        start = time.process_time()
        asyncio.run(speed(texts, precision, cores()))
        found[name] = round(tokens / (time.process_time() - start) * cores())
    print("\nembedding: " + ", ".join(f"{name} {rate:,.0f} tokens/s" for name, rate in found.items()))
    return found


def cores() -> int:
    return os.cpu_count() or 1


def coefficients(found: Sequence[Measured]) -> Coefficients:
    known = load_coefficients()
    embedding = known.embedding.model_copy(update={"tokens_per_second": embedding_speed(), "origin": TIMED})
    here = {"machine": machine(), "date": datetime.now(UTC).date().isoformat(), "cores": cores()}
    return fitted(found, known).model_copy(update=here | {"embedding": embedding})


def check(found: Measured, known: Coefficients) -> None:
    """Print predicted by measured."""
    case = found.case
    demand = Demand(
        engine="pgvector" if case.engine == "pgvector" else "edge",
        chunks=case.chunks,
        dimensions=case.dimensions,
        tokens=round(found.tokens),
        chunks_per_document=case.chunks_per_document,
    )
    guess = estimate(demand, known)
    if case.engine == "catalog":
        pairs = {"disk": (guess.catalog_total - WAL, found.disk)}
    else:
        pairs = {
            "memory": (guess.memory_total, found.memory),
            "disk": (guess.disk_total, found.disk + found.log),
            "write": (guess.write, found.write),
            "build": (guess.build, found.build),
        }
    for name, (predicted, actual) in pairs.items():
        ratio = f"{predicted / actual:.3f}" if actual else "nothing measured"
        print(f"{case.engine:9} {case.chunks:,} x {case.dimensions}  {name:7} predicted by measured: {ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="passages and vectors (engine_corpus.py)")
    parser.add_argument("--texts", type=Path, help="text files to fill the cache from")
    parser.add_argument("--engines", default="edge,pgvector")
    parser.add_argument("--sizes", default="40000,70000,100000")
    parser.add_argument("--check", type=int, default=200_000, help="chunks of the build that is predicted; 0: none")
    parser.add_argument("--resume", action="store_true", help="measure only what the last run did not come to")
    parser.add_argument("--write", action="store_true", help="put the coefficients into the package")
    arguments = parser.parse_args()
    engines, cache = arguments.engines.split(","), arguments.cache
    sizes = [int(size) for size in arguments.sizes.split(",")]
    ensure(cache, max(*sizes, LONG * min(sizes), arguments.check), arguments.texts)
    results = cache / "capacity.jsonl"
    if not arguments.resume:
        results.unlink(missing_ok=True)
    known = coefficients([measured(cache, case, results) for case in cases(engines, sizes)])
    if arguments.write:
        target = Path(str(files("ragstone.index") / "coefficients.json"))
        target.write_text(known.model_dump_json(indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten to {target}")
    for engine in [*engines, "catalog"] if arguments.check else []:
        check(measured(cache, Case(engine=engine, chunks=arguments.check), results), known)


if __name__ == "__main__":
    main()
