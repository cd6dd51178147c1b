"""`eval`: how good retrieval is on a data set with known answers, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.context import Json, ensure_model, print_json, run, settings_of
from ragstone.errors import IndexUnavailable
from ragstone.settings import Settings

if TYPE_CHECKING:
    from rich.progress import Progress

    from ragstone.evaluation.datasets import Dataset
    from ragstone.evaluation.retrieval import Evaluation
    from ragstone.indexing.report import Report
    from ragstone.models import Skip

INDEX_WAIT = 3600.0  # seconds


def evaluate(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="corpus.jsonl, queries.jsonl and qrels.SPLIT.tsv (BEIR layout).")
    ],
    split: Annotated[
        str | None, typer.Option(help="Which judgements to use.", show_default="test, or the only one")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first questions, for a quick look.")] = None,
    json: Json = False,
) -> None:
    """Measure the quality and latency of search.

    Prints nDCG@10, recall@100 and MRR@10 of BM25, dense and hybrid search on a data set whose answers are known, and
    how long each step of a question takes as users have it.

    The data set is indexed with the present settings into a collection of its own, eval-DIR-…, so that a second run
    embeds nothing. Other settings make another collection: compare them as you like.

    Examples: `ragstone eval ./scifact`, `ragstone eval ./scifact --split train --limit 100`,
    `RAGSTONE_CHUNKING_MAX_TOKENS=128 ragstone eval --json ./scifact | jq .runs.hybrid`
    """
    from ragstone.evaluation.datasets import collection, read

    settings = settings_of(context)
    dataset = read(folder, split)
    settings = settings.model_copy(update={"collection": collection(dataset, settings)})
    ensure_model(settings)
    found, report = run(_evaluate(settings, dataset.first(limit) if limit else dataset, quiet=json))
    if json:
        print_json({**asdict(found), "indexing": report, "settings": _used(settings)})
    else:
        _print(found, report.skipped)


async def _evaluate(settings: Settings, dataset: Dataset, *, quiet: bool) -> tuple[Evaluation, Report]:
    from ragstone.app import open_ragstone
    from ragstone.evaluation.datasets import Corpus
    from ragstone.evaluation.retrieval import ROUNDS, Evaluator

    async with open_ragstone(settings) as ragstone:
        with _bars(quiet) as bars:
            indexing = bars.add_task("index", total=len(dataset.corpus))
            corpus = Corpus(dataset)
            report = await ragstone.upkeep.sync(corpus, lambda report: bars.update(indexing, completed=report.done))
            if not await ragstone.caught_up(INDEX_WAIT):
                raise IndexUnavailable("the index is still behind the catalog", hint="`ragstone status` shows how far")
            evaluator = Evaluator(
                dataset=dataset,
                retriever=await ragstone.retriever(),
                scope=await ragstone.scope(),
                settings=settings.retrieval,
            )
            asking = bars.add_task("questions", total=ROUNDS * len(dataset.questions))
            return await evaluator.evaluate(lambda: bars.advance(asking)), report


@contextmanager
def _bars(quiet: bool) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bars:
        yield bars


def _used(settings: Settings) -> dict[str, Any]:
    """The settings that shape a ranking."""
    return settings.model_dump(mode="json", include={"chunking", "embedding", "index", "retrieval"})


def _print(found: Evaluation, skipped: Sequence[Skip]) -> None:
    from rich.console import Console
    from rich.table import Table

    typer.echo(f"{found.dataset}, split {found.split}: {found.questions} questions")
    typer.echo(f"{found.documents} documents, {found.chunks} chunks")
    if found.absent:
        typer.secho(f"{found.absent} relevant documents are not in the corpus: no search can find them", fg="yellow")
    for skip in skipped:
        typer.secho(f"skipped {skip.uri} ({skip.code}): {skip.reason}", fg="yellow")
    quality = Table("search", *found.runs["hybrid"])
    for search, measured in found.runs.items():
        quality.add_row(search, *(f"{value:.3f}" for value in measured.values()))
    latency = Table("step", "p50 ms", "p99 ms", title="latency of a question", title_justify="left")
    for stage, taken in found.latency_ms.items():
        latency.add_row(stage, *(f"{value:.2f}" for value in taken.values()))
    Console().print(quality, latency)
