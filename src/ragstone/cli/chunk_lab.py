"""`chunk-lab`: which way to cut documents finds most of what was marked as the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ragstone.cli.context import Json, bars, ensure_model, print_json, run, settings_of
from ragstone.errors import SettingsError
from ragstone.settings import Settings

if TYPE_CHECKING:
    from ragstone.evaluation.chunk_lab import Plan
    from ragstone.evaluation.chunk_questions import Corpus
    from ragstone.evaluation.chunk_report import Report

T = TypeVar("T")


def chunk_lab(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="questions.jsonl and corpora/ (layout of Chroma's chunking evaluation)."),
    ],
    strategies: Annotated[str | None, typer.Option(help="Names, with commas between.", show_default="all")] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Most tokens of a chunk.", show_default="128,200,256,400, and the model's limit if it is less"
        ),
    ] = None,
    overlap: Annotated[
        str | None, typer.Option(help="Shares of a chunk repeated in the next.", show_default="0, and the settings'")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Chunks retrieved for a question.")] = 5,
    budget: Annotated[int, typer.Option(min=1, help="Tokens in which recall is measured once more.")] = 1000,
    corpora: Annotated[str | None, typer.Option(help="Names, with commas between.", show_default="all")] = None,
    limit_questions: Annotated[int | None, typer.Option(min=1, help="Ask only the first of each corpus.")] = None,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Search as the settings say, BM25 included.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a report with a plot to this file.")] = None,
    json: Json = False,
) -> None:
    """Compare ways to cut documents.

    Cuts texts in which answers are marked by every strategy and size, searches the chunks for each question, and prints
    how much of the marked text was retrieved (recall), how little else (precision, IoU), and the best precision that
    the cuts allow (precision Ω): mean ± standard deviation. Recall within a number of tokens compares sizes fairly:
    five large chunks hold more than five small ones.

    Vectors are kept in the cache folder: a second run embeds only what is new. Nothing is indexed.

    Examples: `ragstone chunk-lab ./chunking_evaluation --html report.html`,
    `ragstone chunk-lab ./chunking_evaluation --strategies structure,fixed --sizes 200 --corpora wikitexts`
    """
    from ragstone.evaluation.chunk_lab import STRATEGIES, Plan
    from ragstone.evaluation.chunk_questions import read

    settings = settings_of(context)
    plan = Plan(
        strategies=_listed(strategies, str) or STRATEGIES,
        sizes=_listed(sizes, int),
        overlaps=_listed(overlap, float) or sorted({0.0, settings.chunking.overlap}),
        top_k=top_k,
        budget=budget,
        hybrid=settings.retrieval if hybrid else None,
    )
    texts = read(folder, _listed(corpora, str), limit_questions)
    ensure_model(settings)
    report = run(_measure(settings, folder.resolve().name, texts, plan, quiet=json))
    if html:
        _write(html, report)
    if json:
        print_json(report)
    else:
        _print(report)


async def _measure(settings: Settings, dataset: str, texts: Sequence[Corpus], plan: Plan, *, quiet: bool) -> Report:
    from ragstone.embedding.files import cache_folder
    from ragstone.evaluation.chunk_lab import Lab
    from ragstone.evaluation.chunk_report import Report
    from ragstone.evaluation.chunk_vectors import VectorCache
    from ragstone.parts import make_embedder

    cache = cache_folder(settings.cache_dir) / "chunk-lab"
    async with aclosing(make_embedder(settings.embedding, settings.cache_dir)) as embedder:
        with bars(quiet) as progress, VectorCache.open(embedder, cache, partial(progress, "embed")) as vectors:
            results = await Lab(corpora=texts, vectors=vectors, chunking=settings.chunking, plan=plan).run(progress)
        return Report(
            dataset=dataset,
            model=str(embedder.fingerprint.spec["model"]),
            search="hybrid" if plan.hybrid else "dense",
            top_k=plan.top_k,
            budget=plan.budget,
            questions={text.name: len(text.questions) for text in texts},
            left_out=plan.too_large(embedder.max_tokens),
            results=results,
        )


def _listed(text: str | None, kind: Callable[[str], T]) -> list[T]:
    try:
        return [kind(part.strip()) for part in text.split(",")] if text else []
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _write(file: Path, report: Report) -> None:
    from ragstone.evaluation.chunk_report import page

    try:
        file.write_text(page(report), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write {file}: {error.strerror}", hint="--html another file") from None
    typer.echo(f"the report is in {file}", err=True)


def _print(report: Report) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from ragstone.evaluation.chunk_report import headings

    asked = sum(report.questions.values())
    typer.echo(f"{report.dataset}: {asked} questions on {', '.join(report.questions)}; {report.search}, {report.model}")
    for size in report.left_out:
        typer.secho(f"size {size} is left out: it is over the model's limit", fg="yellow")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("strategy", no_wrap=True)
    for name in ("size", "over-\nlap", "chunks", "tokens\nfound"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in headings(report.budget).values():
        table.add_column(name.replace(" ", "\n", 1), justify="right")
    for result in report.results:
        way = [result.strategy, str(result.max_tokens), f"{result.overlap:g}"]
        figures = [f"{figure.mean:.3f} ±{figure.std:.3f}" for figure in result.figures.values()]
        table.add_row(*way, str(result.chunks), f"{result.shown_tokens:.0f}", *figures)
    Console().print(table)
