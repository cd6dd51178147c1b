"""Retrieval quality on data sets with known answers: each kind of search, and each way to fuse the two.

    python benchmarks/retrieval.py DIR [DIR …] [--split test] [--data-dir .bench]

A DIR holds corpus.jsonl, queries.jsonl and qrels.SPLIT.tsv, as the sets of BEIR do. The data folder is kept, so that a
second run embeds nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from corpus import machine

from ragstone.app import Ragstone, open_ragstone
from ragstone.errors import RagstoneError
from ragstone.evaluation.datasets import Corpus, Dataset, collection, read
from ragstone.evaluation.retrieval import Evaluator, Run, figures
from ragstone.settings import RetrievalSettings, Settings, load

WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7)
CONSTANTS = (5, 10, 20, 60)


def fusions() -> Iterator[tuple[str, RetrievalSettings]]:
    for weight in WEIGHTS:
        yield f"weighted, {weight:.1f} dense", RetrievalSettings(fusion="weighted", dense_weight=weight)
    for k in CONSTANTS:
        yield f"rrf, k = {k}", RetrievalSettings(fusion="rrf", rrf_k=k)


async def measure(settings: Settings, dataset: Dataset) -> None:
    settings = settings.model_copy(update={"collection": collection(dataset, settings)})
    async with open_ragstone(settings) as ragstone:
        report = await ragstone.upkeep.sync(Corpus(dataset), lambda report: None)
        await ragstone.caught_up(3600)
        print(f"\n{dataset.name}, {dataset.split}: {len(dataset.corpus)} documents, {len(dataset.questions)} questions")
        if report.skipped:
            print(f"{len(report.skipped)} documents were skipped")
        print(f"{'search':20} nDCG@10  recall@100")
        await compare(ragstone, dataset)


async def compare(ragstone: Ragstone, dataset: Dataset) -> None:
    scope, usual = await ragstone.scope(), ragstone.settings.retrieval
    evaluator = Evaluator(dataset=dataset, retriever=await ragstone.retriever(), scope=scope, settings=usual)
    found = {question: hits async for question, hits in evaluator.search(lambda: None)}
    ways: list[tuple[str, Run, RetrievalSettings]] = [("bm25", "bm25", usual), ("dense", "dense", usual)]
    ways += [(name, "hybrid", settings) for name, settings in fusions()]
    for name, run, settings in ways:
        rankings = {question: evaluator.ranked(hits, run, settings) for question, hits in found.items()}
        measured = figures(rankings, dataset.judgements)
        print(f"{name:20} {measured['ndcg@10']:7.4f}  {measured['recall@100']:10.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", metavar="DIR", type=Path, nargs="+")
    parser.add_argument("--split")
    parser.add_argument("--data-dir", type=Path, default=Path(".bench"))
    arguments = parser.parse_args()
    print(f"retrieval on {machine()}")
    try:
        settings = load().model_copy(update={"data_dir": arguments.data_dir.absolute()})
        for folder in arguments.folders:
            asyncio.run(measure(settings, read(folder, arguments.split)))
    except RagstoneError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
