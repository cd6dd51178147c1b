"""Indexing end to end: chunks a second, the share of time outside embedding, cost of a run with nothing changed.

    python benchmarks/indexing.py [--documents 200] [--folder PATH]

Without a folder, the text is the docstrings of Python's standard library.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from pathlib import Path

from corpus import machine, write_corpus

from ragstone.app import open_ragstone
from ragstone.indexing.report import Report
from ragstone.settings import IndexSettings, Settings


async def measure(folder: Path, data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir, index=IndexSettings(linger=1))
    async with open_ragstone(settings) as ragstone:
        await ragstone.embedders.present.embed(["load the model before the clock starts"], "live")
        source = ragstone.upkeep.source(str(folder))
        start = time.perf_counter()
        report = await ragstone.upkeep.sync(source, lambda report: None)
        indexed = time.perf_counter() - start
        await ragstone.caught_up(600)
        searchable = time.perf_counter() - start
        start = time.perf_counter()
        again = await ragstone.upkeep.sync(source, lambda report: None)
        unchanged = time.perf_counter() - start
    print_report(report, again, indexed, searchable, unchanged)


def print_report(report: Report, again: Report, indexed: float, searchable: float, unchanged: float) -> None:
    embedding = report.seconds["embed"]
    counts = f"{report.published} documents, {report.chunks} chunks, {report.embedded} embedded"
    print(f"{counts}, {len(report.skipped)} skipped")
    print(f"indexed      {indexed:7.1f} s   {report.chunks / indexed:6.1f} chunks/s")
    print(f"searchable   {searchable:7.1f} s   (all of it applied to the index)")
    print(f"embedding    {embedding:7.1f} s   {report.embedded / embedding:6.1f} chunks/s")
    print(f"outside it   {indexed - embedding:7.1f} s   {(indexed - embedding) / indexed:6.1%} of the whole")
    work = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in report.seconds.items())
    print(f"work, overlapping in time: {work}")
    print(f"run again with nothing changed: {unchanged:.2f} s, {again.embedded} embedded")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    print(f"indexing on {machine()}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch) / "corpus"
        if arguments.folder is None:
            write_corpus(folder, arguments.documents)
        asyncio.run(measure(folder, Path(scratch) / "data"))


if __name__ == "__main__":
    main()
