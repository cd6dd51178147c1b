"""Indexing end to end: speed, cost of a run with nothing changed and of one changed paragraph, delay until it is found.

    python benchmarks/indexing.py [--documents 200] [--many 5000] [--saves 40] [--folder PATH]

Without a folder, the text is the docstrings of Python's standard library. Every part runs in a data folder of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from corpus import machine, write_corpus

from ragstone.app import Ragstone, open_ragstone
from ragstone.indexing.report import Report
from ragstone.parts import make_recipe
from ragstone.settings import IndexSettings, Settings
from ragstone.source_settings import FolderSource

PARAGRAPH = (
    "Paragraph {n} of note {document}: the {word} is kept in room {n} and is looked after on the first of the month."
)
WORDS = ("kettle", "ladder", "projector", "bicycle", "scanner", "lamp", "printer", "toolbox")


def settings_for(data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir, index=IndexSettings(linger=1))


async def timed_pass(ragstone: Ragstone, folder: Path) -> tuple[Report, float]:
    start = time.perf_counter()
    report = await ragstone.upkeep.sync(ragstone.upkeep.source(str(folder)), lambda report: None)
    return report, time.perf_counter() - start


async def end_to_end(folder: Path, data_dir: Path) -> None:
    async with open_ragstone(settings_for(data_dir)) as ragstone:
        await ragstone.embedders.present.embed(["load the model before the clock starts"], "live")
        report, indexed = await timed_pass(ragstone, folder)
        start = time.perf_counter()
        await ragstone.caught_up(600)
        behind = time.perf_counter() - start
        again, unchanged = await timed_pass(ragstone, folder)
        alone = await embedding_alone(ragstone, folder)
    counts = f"{report.published} documents, {report.chunks} chunks, {report.embedded} embedded"
    print(f"{counts}, {len(report.skipped)} skipped")
    print(f"indexed       {indexed:7.1f} s   {report.published / indexed:6.1f} documents/s   "
          f"{report.chunks / indexed:6.1f} chunks/s")  # fmt: skip
    print(
        f"embedding     {alone:7.1f} s   {alone / indexed:6.1%} of it: the same texts embedded, and nothing else done"
    )
    print(f"parsing       {report.seconds.get('parse', 0):7.1f} s   of work, beside the embedding where it can be")
    print(f"the rest      {max(0.0, indexed - alone):7.1f} s   {max(0.0, indexed - alone) / indexed:6.1%}")
    print(f"in the index {behind:8.1f} s   later")
    print(f"run again with nothing changed: {unchanged:.2f} s, {again.embedded} embedded")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


async def embedding_alone(ragstone: Ragstone, folder: Path) -> float:
    """Seconds that the embedder takes for the distinct chunk texts of a folder, in one call."""
    recipe = make_recipe(await ragstone.serving(), ragstone.embedders.present)
    from ragstone.parsing.parse import parse

    texts: set[str] = set()
    for path in sorted(folder.iterdir()):
        texts.update(chunk.embedded for chunk in recipe.chunker.chunk(parse(path.read_bytes(), path.name)))
    start = time.perf_counter()
    await recipe.embedder.embed(sorted(texts), "backfill")
    return time.perf_counter() - start


async def one_paragraph(folder: Path, data_dir: Path, documents: int) -> None:
    """What a changed paragraph costs among many documents."""
    for document in range(documents):
        write_note(folder / f"note{document:05}.md", document)
    async with open_ragstone(settings_for(data_dir)) as ragstone:
        first, built = await timed_pass(ragstone, folder)
        write_note(folder / f"note{documents // 2:05}.md", documents // 2, changed=1)
        second, taken = await timed_pass(ragstone, folder)
        again, unchanged = await timed_pass(ragstone, folder)
    print(f"\n{documents} documents of {first.chunks // max(1, documents)} chunks built in {built:.0f} s")
    print(f"run again with nothing changed: {unchanged:.2f} s, {again.embedded} embedded")
    print(f"one paragraph of one document changed: {taken:.2f} s, {second.published} document, "
          f"{second.chunks} chunks, {second.embedded} embedded")  # fmt: skip


def write_note(path: Path, document: int, changed: int = -1) -> None:
    sections = []
    for n in range(3):
        text = PARAGRAPH.format(n=n, document=document, word=WORDS[(document + n) % len(WORDS)])
        sections.append(f"## Part {n}\n\n{text}" + (" It was moved yesterday." if n == changed else ""))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# Note {document}\n\n" + "\n\n".join(sections) + "\n")


async def freshness(folder: Path, data_dir: Path, saves: int) -> None:
    """From saving a file to finding its text, with a worker in a process of its own."""
    folder.mkdir(parents=True)
    (folder / "first.md").write_text("# First\n\nSomething to begin with.")
    settings = settings_for(data_dir).model_copy(update={"sources": {"notes": FolderSource(path=folder)}})
    async with open_ragstone(settings) as ragstone:
        await timed_pass(ragstone, folder)
        delays = []
        async with worker(folder, data_dir):
            for n in range(saves):
                delays.append(await delay(ragstone, folder / f"save{n}.md", f"zebra{n}x{os.getpid()}"))
                await asyncio.sleep(0.3 + n % 7 / 10)
    print(f"\nfrom saving a file to finding its text, {saves} times: p50 {statistics.median(delays):.2f} s, "
          f"p99 {quantile(delays, 0.99):.2f} s")  # fmt: skip


async def delay(ragstone: Ragstone, path: Path, word: str) -> float:
    path.write_text(f"# Notice\n\nThe code word of the day is {word}.")
    start = time.perf_counter()
    while time.perf_counter() - start < 60:
        found = await ragstone.search(f"code word {word}")
        if any(word in passage.text for passage in found.passages):
            break
        await asyncio.sleep(0.02)
    return time.perf_counter() - start


@asynccontextmanager
async def worker(folder: Path, data_dir: Path) -> AsyncIterator[None]:
    config = data_dir.parent / f"{data_dir.name}.toml"
    config.write_text(
        f'data_dir = "{data_dir}"\n[index]\nlinger = 1\n[sources.notes]\nkind = "folder"\npath = "{folder}"\n'
    )
    command = [sys.executable, "-m", "ragstone", "--config", str(config), "worker"]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    while b"working on the queue" not in await process.stderr.readline():
        pass
    drain = asyncio.create_task(process.stderr.read())
    await asyncio.sleep(2)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()
        await drain


async def two_workers(folder: Path, scratch: Path) -> None:
    """The same folder by one process and by two at once. Both share the machine's cores."""
    seconds = {}
    for count in (1, 2):
        data_dir = scratch / f"workers{count}"
        config = scratch / f"workers{count}.toml"
        config.write_text(
            f'data_dir = "{data_dir}"\n[index]\nlinger = 1\n[sources.notes]\nkind = "folder"\npath = "{folder}"\n'
        )
        command = [sys.executable, "-m", "ragstone", "--config", str(config), "sync", "--json"]
        start = time.perf_counter()
        running = [
            await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL) for _ in range(count)
        ]
        await asyncio.gather(*(process.wait() for process in running))
        seconds[count] = time.perf_counter() - start
    ratio = f"{seconds[1] / seconds[2]:.2f} times as fast on {os.cpu_count()} cores"
    print(
        f"\none process {seconds[1]:.1f} s, two at once {seconds[2]:.1f} s: {ratio} (one alone embeds on all of them)"
    )


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--many", type=int, default=5000, help="documents among which one paragraph changes")
    parser.add_argument("--saves", type=int, default=40)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    print(f"indexing on {machine()}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        folder = arguments.folder or scratch / "corpus"
        if arguments.folder is None:
            write_corpus(folder, arguments.documents)
        asyncio.run(end_to_end(folder, scratch / "first"))
        asyncio.run(two_workers(folder, scratch))
        asyncio.run(freshness(scratch / "notes", scratch / "second", arguments.saves))
        asyncio.run(one_paragraph(scratch / "many", scratch / "third", arguments.many))


if __name__ == "__main__":
    main()
