"""`ask`, `search` and `explain`: questions, and why the answer is what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli.context import EXIT_REFUSED, Json, Question, print_json, run, settings_of
from ragstone.cli.failures import readable
from ragstone.settings import RetrievalSettings, Settings

if TYPE_CHECKING:
    from ragstone.answering import Done
    from ragstone.app import Ragstone
    from ragstone.index.filters import Filter
    from ragstone.models import Passage
    from ragstone.retrieval.pipeline import Retrieved
    from ragstone.telemetry import Trace

INDEX_WAIT = 30.0  # seconds

TopK = Annotated[int | None, typer.Option(min=1, max=100, help="Passages at most.", show_default="settings")]
Mode = Annotated[str | None, typer.Option(help="hybrid, dense or bm25.", show_default="settings")]
Where = Annotated[
    str | None,
    typer.Option(help='Only documents of which this holds: tags in ("a", "b") and year >= 2020.', metavar="FILTER"),
]


def ask(
    context: typer.Context,
    question: Question,
    top_k: TopK = None,
    mode: Mode = None,
    where: Where = None,
    timings: Annotated[bool, typer.Option("--timings", help="Show how long each step took.")] = False,
    json: Json = False,
) -> None:
    """Answer a question from the indexed documents, with citations. Exits with 3 when they do not hold the answer.

    Examples: `ragstone ask "How many days of leave do I have?"`,
    `ragstone ask --timings "Who approves expenses?"`, `ragstone ask --json "…" | jq .answer`
    """
    settings = _adjusted(settings_of(context), top_k, mode)
    passages, done = run(_ask(settings, question, where, quiet=json))
    if json:
        print_json(answer_record(passages, done))
    else:
        _print_sources(passages, done)
        if timings:
            print_timings(done.trace)
    if done.refused:
        raise typer.Exit(EXIT_REFUSED)


def search(
    context: typer.Context,
    question: Question,
    top_k: TopK = None,
    mode: Mode = None,
    where: Where = None,
    json: Json = False,
) -> None:
    """Show the passages that a question finds, with their scores.

    Examples: `ragstone search --top-k 3 --mode bm25 "error E4012"`,
    `ragstone search --where 'source = "handbook" and modified_at >= "2024-01-01"' "leave"`
    """
    found = run(_search(_adjusted(settings_of(context), top_k, mode), question, where))
    if json:
        print_json({"question": question, "passages": found.passages, "timing_ms": milliseconds(found.trace)})
        return
    for passage in found.passages:
        typer.secho(f"{passage.number}. {heading(passage)}", bold=True)
        typer.secho(f"   {_scores(passage)}  {readable(passage.uri)}", dim=True)
        typer.echo("   " + _excerpt(passage.text, 300))
    if not found.passages:
        among = "" if where is None else " among what the filter lets through"
        typer.echo(f"nothing is near enough to the question{among}; `ragstone explain` shows what was dropped")


def explain(
    context: typer.Context,
    question: Question,
    document: Annotated[str, typer.Option(help="Only chunks of documents whose URI contains this.")] = "",
    top_k: TopK = None,
    mode: Mode = None,
    where: Where = None,
    json: Json = False,
) -> None:
    """Show what became of every candidate of a question: its scores, and the stage and reason that removed it.

    Example: `ragstone explain --document leave "How many days off?"`
    """
    found, rows = run(_explain(_adjusted(settings_of(context), top_k, mode), question, document, where))
    if json:
        print_json({"question": question, "candidates": rows, "stages": found.trace.stages})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("rank", "document", "cosine", "BM25", "fused", "what became of it")
    for row in rows:
        cells = [row["rank"], row["document"], row["cosine"], row["bm25"], row["fused"], row["fate"]]
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells))
    Console().print(table)
    print_timings(found.trace)


# --- the work ---------------------------------------------------------------------------------------------------


async def _ask(
    settings: Settings, question: str, where: str | None, *, quiet: bool
) -> tuple[tuple[Passage, ...], Done]:
    from ragstone.answering import Done, Sources, Token
    from ragstone.app import open_ragstone

    condition = _filter(where)
    async with open_ragstone(settings) as ragstone:
        await _wait_for_index(ragstone)
        async for event in ragstone.answer(question, where=condition):
            match event:
                case Sources(passages=passages):
                    pass
                case Token(text=text):
                    typer.echo("" if quiet else text, nl=False)
                case Done() as done:
                    pass
    if not quiet:
        typer.echo()
    return passages, done


async def _search(settings: Settings, question: str, where: str | None) -> Retrieved:
    from ragstone.app import open_ragstone

    condition = _filter(where)
    async with open_ragstone(settings) as ragstone:
        await _wait_for_index(ragstone)
        return await ragstone.search(question, where=condition)


async def _explain(
    settings: Settings, question: str, document: str, where: str | None
) -> tuple[Retrieved, list[dict[str, object]]]:
    from ragstone.app import open_ragstone

    condition = _filter(where)
    async with open_ragstone(settings) as ragstone:
        await _wait_for_index(ragstone)
        found = await ragstone.explain(question, where=condition)
        scope = await ragstone.scope()
        ids = [fused.hit.chunk_id for fused in found.ranked]
        chunks = await ragstone.catalog.chunks(scope.generation, scope.tenant, ids)
    fates = found.fates()
    rows = []
    for rank, fused in enumerate(found.ranked, start=1):
        chunk = chunks.get(fused.hit.chunk_id)
        if document in (chunk.uri if chunk else ""):
            rows.append(
                {
                    "rank": rank,
                    "chunk_id": fused.hit.chunk_id,
                    "document": f"{readable(chunk.uri)} #{chunk.ordinal}" if chunk else "-",
                    "cosine": fused.hit.cosine,
                    "bm25": fused.hit.bm25,
                    "fused": fused.score,
                    "fate": fates[fused.hit.chunk_id],
                }
            )
    return found, rows


def _filter(where: str | None) -> Filter | None:
    """Read before anything is started: a typo is told at once."""
    from ragstone.index.filter_text import parse

    return None if where is None else parse(where)


async def _wait_for_index(ragstone: Ragstone) -> None:
    """An index that is being rebuilt would answer from a part of the documents: wait, and say so."""
    if await ragstone.caught_up(1.0):
        return
    typer.secho("the index is catching up with the catalog …", fg="yellow", err=True)
    if not await ragstone.caught_up(INDEX_WAIT):
        typer.secho("it is still behind: newer documents may be missing from the answer", fg="yellow", err=True)


def _adjusted(settings: Settings, top_k: int | None, mode: str | None) -> Settings:
    changes = {name: value for name, value in (("top_k", top_k), ("mode", mode)) if value is not None}
    retrieval = RetrievalSettings(**{**settings.retrieval.model_dump(), **changes})
    return settings.model_copy(update={"retrieval": retrieval})


# --- for people -------------------------------------------------------------------------------------------------


def heading(passage: Passage) -> str:
    """Title, heading path and pages in one line."""
    path = [part for part in passage.path if part != passage.title]
    pages = passage.pages
    where = "" if pages is None else f", p. {pages[0]}" if pages[0] == pages[1] else f", pp. {pages[0]}–{pages[1]}"
    return " › ".join([passage.title, *path]) + where


def print_timings(trace: Trace) -> None:
    """A table of the stages."""
    from rich.console import Console
    from rich.table import Table

    table = Table("step", "ms", "in", "out", title="latency", title_justify="left")
    for stage in trace.stages:
        counts = ("" if n is None else str(n) for n in (stage.taken, stage.given))
        table.add_row(stage.name, f"{stage.seconds * 1e3:.1f}", *counts)
    Console().print(table)


def milliseconds(trace: Trace) -> dict[str, float]:
    return {stage.name: round(stage.seconds * 1e3, 3) for stage in trace.stages}


def answer_record(passages: Sequence[Passage], done: Done) -> dict[str, object]:
    """An answer as programs get it."""
    return {
        "id": done.id,
        "answer": done.text,
        "refused": done.refused,
        "citations": [citation.number for citation in done.citations],
        "passages": passages,
        "unknown_citations": done.unknown_citations,
        "generator": done.generator,
        "prompt_tokens": done.prompt_tokens,
        "timing_ms": milliseconds(done.trace),
    }


def _print_sources(passages: Sequence[Passage], done: Done) -> None:
    """What is cited, then what else was found: a reader may want to look there as well."""
    if done.refused:
        return
    cited = {citation.number for citation in done.citations}
    for passage in sorted(passages, key=lambda p: (p.number not in cited, p.number)):
        line = f"[{passage.number}] {heading(passage)} — {readable(passage.uri)}"
        typer.secho(line if passage.number in cited else f"also found: {line}", dim=passage.number not in cited)


def _scores(passage: Passage) -> str:
    named = (("cosine", passage.cosine), ("BM25", passage.bm25), ("fused", passage.score))
    return "  ".join(f"{name} {score:.3f}" for name, score in named if score is not None)


def _excerpt(text: str, length: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"
