"""`tune`: how broadly the index must search to find what is near, measured on this collection."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli.context import EXIT_ERROR, Json, Steps, bars, ensure_model, print_json, run, settings_of
from ragstone.errors import IndexUnavailable, NothingIndexed, SettingsError
from ragstone.settings import Settings

if TYPE_CHECKING:
    from ragstone.app import Ragstone
    from ragstone.index.base import Health
    from ragstone.index.tuning import Plan, Tuning
    from ragstone.models import Generation, Vectors

INDEX_WAIT = 600.0  # seconds
EMBEDDED = 16  # questions embedded between two moves of the bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What was found for one generation and engine. `tuning` is None where `ef` plays no part."""

    generation: Generation
    health: Health
    tuning: Tuning | None
    asked: int = 0  # queries from the record of questions; the others are headings
    stored: bool = False


def tune(
    context: typer.Context,
    recall: Annotated[float, typer.Option(min=0.1, max=0.9999, help="The share of the nearest to be found.")] = 0.98,
    k: Annotated[int, typer.Option(min=1, max=100, help="How many nearest count: recall@k.")] = 10,
    queries: Annotated[
        int, typer.Option(min=1, max=100_000, help="Questions that were asked, filled up with headings of documents.")
    ] = 200,
    html: Annotated[Path | None, typer.Option(help="Write a report with the curves to this file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure and print, store nothing.")] = False,
    json: Json = False,
) -> None:
    """Find the least search breadth (ef) that finds enough, and search with it from then on.

    Searches for real questions with growing ef, without a filter and with filters that let 50 %, 10 %, 1 % and 0.1 % of
    the documents through, and compares each with exact search. The least ef that surely reaches the recall under every
    filter is stored with the serving generation, for this engine; `index.ef` in the settings goes before it. Exits
    with 1, storing nothing, when none does.

    Run it again when the collection has grown much. On a busy machine latencies mean little; recall is as true.

    Examples: `ragstone tune`, `ragstone tune --recall 0.99 --html recall.html`,
    `ragstone tune --dry-run --json | jq .tuning.ef`
    """
    from ragstone.index.tuning import Plan, breadths

    settings = settings_of(context)
    ensure_model(settings)
    plan = Plan(recall=recall, k=k, efs=breadths(k))
    found = run(_tune(settings, plan, queries, dry_run, quiet=json))
    if json:
        print_json(_for_programs(found))
    else:
        _tell(found, settings)
    if html:
        _write(html, found, settings)
    if found.tuning and found.tuning.ef is None and not found.tuning.exhaustive:
        raise typer.Exit(EXIT_ERROR)


async def _tune(settings: Settings, plan: Plan, queries: int, dry_run: bool, *, quiet: bool) -> Tuned:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        generation = await ragstone.serving()
        if not await ragstone.caught_up(INDEX_WAIT):
            raise IndexUnavailable("the index is still behind the catalog", hint="`ragstone status` shows how far")
        found = Tuned(generation=generation, health=await ragstone.index.health(), tuning=None)
        if found.health.engine == "exact":
            return found
        if found.health.state == "building" and not dry_run:
            raise IndexUnavailable(
                "the index is building its graphs: what searches need until then is not what they need after",
                hint="come back when `ragstone index status` says ready, or look with --dry-run",
            )
        with bars(quiet) as progress:
            found = await _measured(ragstone, found, plan, queries, progress)
        if dry_run or found.tuning is None or found.tuning.ef is None:
            return found
        await ragstone.catalog.record_tuning(generation, found.health.engine, _record(found.tuning))
        return replace(found, stored=True)


async def _measured(ragstone: Ragstone, found: Tuned, plan: Plan, queries: int, progress: Steps) -> Tuned:
    from ragstone.index.tuning import tune
    from ragstone.models import scope_of

    generation = found.generation
    texts, asked = await _texts(ragstone, generation, queries)
    vectors = await _embedded(ragstone, generation, texts, progress)
    tuning = await tune(ragstone.index, scope_of(generation), vectors, plan, progress=progress)
    return replace(found, tuning=tuning, asked=asked)


async def _texts(ragstone: Ragstone, generation: Generation, wanted: int) -> tuple[list[str], int]:
    """Queries, and how many of them were asked. Raises NothingIndexed when there are none."""
    settings = ragstone.settings
    collection = await ragstone.catalog.ensure_collection(settings.tenant, settings.collection)
    asked = await ragstone.catalog.questions(collection, wanted)
    headings = await ragstone.catalog.headings(generation, wanted) if len(asked) < wanted else []
    texts = list(dict.fromkeys([*asked, *(" ".join(path[-2:]) for _, path in headings)]))[:wanted]
    if not texts:
        raise NothingIndexed(
            "there is nothing to search for: no question was asked yet, and no document has a heading",
            hint="ask some questions, with `ragstone ask` or through the API, and come back",
        )
    return texts, min(len(asked), len(texts))


async def _embedded(ragstone: Ragstone, generation: Generation, texts: list[str], progress: Steps) -> Vectors:
    import numpy as np

    embedder = ragstone.embedders.of(generation)
    batches = []
    for start in range(0, len(texts), EMBEDDED):
        batches.append(await embedder.embed(texts[start : start + EMBEDDED], "query"))
        progress("embed", min(start + EMBEDDED, len(texts)), len(texts))
    return np.concatenate(batches)


def _record(tuning: Tuning) -> dict[str, object]:
    """What is kept with the generation."""
    return {
        "ef": tuning.ef,
        "recall": tuning.recall,
        "target": tuning.plan.recall,
        "k": tuning.plan.k,
        "queries": tuning.queries,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


# --- what is told ---------------------------------------------------------------------------------------------------


def _for_programs(found: Tuned) -> dict[str, object]:
    return {
        "generation": found.generation.id,
        "engine": found.health.engine,
        "unbuilt": found.health.unbuilt,
        "asked": found.asked,
        "stored": found.stored,
        "tuning": _figures(found.tuning) if found.tuning else None,
    }


def _figures(tuning: Tuning) -> dict[str, object]:
    return {**asdict(tuning), "recall": tuning.recall, "exhaustive": tuning.exhaustive}


def _tell(found: Tuned, settings: Settings) -> None:
    health, tuning = found.health, found.tuning
    if tuning is None:
        typer.echo(f"the engine {health.engine} computes every cosine: it finds all there is, and has no use for ef")
        return
    typer.echo(f"{tuning.queries} queries ({found.asked} that were asked, the others headings), on {health.engine}")
    if health.unbuilt:
        typer.secho(f"{health.unbuilt} of {health.points} chunks are in no graph yet: they are found by a scan, "
                    "and recall is higher than it will be", fg="yellow")  # fmt: skip
    _print_table(tuning)
    _tell_outcome(found, tuning, settings)


def _print_table(tuning: Tuning) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from ragstone.index.tuning_report import cells_of, name_of

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("filter", no_wrap=True)
    for name in ("ef", f"recall@{tuning.plan.k}", "at least", "p50 ms", "p99 ms", "queries/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column()
    for curve in tuning.curves:
        for figures in curve.figures:
            chosen = figures.ef == tuning.ef
            table.add_row(*cells_of(curve, figures), "chosen" if chosen else "", style="bold" if chosen else None)
        table.add_section()
    Console().print(table)
    for share, points in tuning.left_out.items():
        typer.echo(
            f"left out: a filter of {name_of(share)} lets only {points} chunks through, {tuning.plan.k} are needed"
        )


def _tell_outcome(found: Tuned, tuning: Tuning, settings: Settings) -> None:
    target = f"recall@{tuning.plan.k} of {tuning.plan.recall:g}"
    if tuning.exhaustive:
        typer.echo("even the least ef finds everything: searching so few chunks is as good as a scan")
        typer.echo("nothing is stored, for more chunks will want more; come back when there are")
        return
    if tuning.ef is None:
        typer.secho(f"no ef surely reaches a {target} under every filter: nothing is stored", fg="red", err=True)
        typer.echo(f"  try: {_advice(tuning)}", err=True)
        return
    typer.secho(f"ef {tuning.ef} is the least that surely reaches a {target} under every filter", fg="green")
    typer.echo("stored: searches of this generation use it" if found.stored else "a dry run: nothing is stored")
    if settings.index.ef is not None:
        typer.secho(f"but the settings say index.ef = {settings.index.ef}, and that goes before it", fg="yellow")


def _advice(tuning: Tuning) -> str:
    best = min(max(figures.recall for figures in curve.figures) for curve in tuning.curves)
    if best >= tuning.plan.recall:
        return f"more --queries: the mean does reach it, but {tuning.queries} leave that to chance"
    return f"a lower --recall ({best:.3f} was reached under every filter), or an engine without quantization"


def _write(file: Path, found: Tuned, settings: Settings) -> None:
    from ragstone.index.tuning_report import page

    if found.tuning is None:
        typer.echo("there is no curve to draw: no report is written", err=True)
        return
    model = str(found.generation.fingerprint.spec.get("model"))
    text = page(found.tuning, collection=settings.collection, engine=found.health.engine, model=model)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write {file}: {error.strerror}", hint="--html another file") from None
    typer.echo(f"the report is in {file}", err=True)
