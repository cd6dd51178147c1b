"""`plan`, `reindex`, `rollback`, `generations`, `drift`, `gc`: a collection under other settings, and after."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.context import EXIT_ERROR, Json, ensure_model, print_json, run, settings_of
from ragstone.cli.indexing import bar, summary
from ragstone.settings import Settings

if TYPE_CHECKING:
    from ragstone.catalog.sweeping import Swept
    from ragstone.evaluation.comparison import Comparison
    from ragstone.indexing.plan import Plan
    from ragstone.models import Generation
    from ragstone.upkeep import Reindexed


def plan(
    context: typer.Context,
    sample: Annotated[int, typer.Option(min=1, help="Documents that are read to estimate the rest.")] = 200,
    json: Json = False,
) -> None:
    """Tell what a reindex with the present settings would have to do, how long and for how much; changes nothing.

    Example: `RAGSTONE_CHUNKING_MAX_TOKENS=128 ragstone plan`
    """
    settings = settings_of(context)
    ensure_model(settings)
    found = run(_plan(settings, sample, quiet=json))
    if json:
        print_json({**asdict(found), "reused": found.reused})
        return
    about = "" if found.sampled == found.to_index else f" (estimated from {found.sampled} documents)"
    typer.echo(f"documents   {found.documents}, {found.unchanged} of them need nothing, {found.skipped} passed over")
    typer.echo(
        f"to index    {found.to_index}" + (f", {found.failed} of the sampled unreadable" if found.failed else "")
    )
    typer.echo(f"chunks      {found.chunks}, {found.reused} have their vector already{about}")
    typer.echo(f"to embed    {found.embedded} chunks, {found.tokens:,} tokens")
    typer.echo(f"time        {'depends on the endpoint' if found.seconds is None else _duration(found.seconds)}")
    typer.echo(f"money       {found.money:.2f}")


def reindex(
    context: typer.Context,
    questions: Annotated[
        Path | None,
        typer.Option(
            help='JSON lines to compare on: {"question": …, "relevant": [uri, …]}.', show_default="the record"
        ),
    ] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Switch even without documents that cannot be read any more.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Switch whatever the comparison says.")] = False,
    json: Json = False,
) -> None:
    """Build the collection anew with the present settings, beside the serving one, compare them, and switch.

    Needed after a change of model or chunking. Questions are answered from the old generation meanwhile, and changes
    of documents go to both. An interrupted run goes on where it was. Exits with 1 when it does not switch.

    Example: `RAGSTONE_CHUNKING_MAX_TOKENS=128 ragstone reindex --questions questions.jsonl`
    """
    settings = settings_of(context)
    ensure_model(settings)
    done = run(_reindex(settings, questions, accept_loss, force, quiet=json))
    if json:
        print_json({"switched": not done.objections, **asdict(done)})
    else:
        _tell(done)
    if done.objections:
        raise typer.Exit(EXIT_ERROR)


def rollback(context: typer.Context, json: Json = False) -> None:
    """Let the generation that served before serve again; it was kept up to date meanwhile.

    Example: `ragstone rollback`
    """
    generation = run(_rollback(settings_of(context)))
    print_json(generation) if json else typer.echo(f"generation {generation.id} serves again")


def generations(context: typer.Context, json: Json = False) -> None:
    """List the generations that are kept up to date, and how each was built.

    Example: `ragstone generations --json`
    """
    rows = run(_generations(settings_of(context)))
    if json:
        print_json(rows)
        return
    if not rows:
        typer.echo("there is none: nothing is indexed yet")
    for row in rows:
        checked = f"{row['checked_at'].astimezone():%Y-%m-%d %H:%M}" if row["checked_at"] else "never"
        typer.echo(f"{row['id']}  {row['state']}, model checked {checked}")
        typer.echo(f"  {row['documents']} documents in {row['chunks']} chunks")
        typer.echo(f"  {row['model']}; {row['chunking']}; parser {row['parser']}")
        if row["quarantine"]:
            typer.secho(f"  {row['quarantine']}", fg="red")


def drift(context: typer.Context, json: Json = False) -> None:
    """Ask each generation's model for the vectors of fixed texts, and compare them with those it once gave.

    What deviates is put in quarantine: nothing is written to it until a check finds the old vectors. Exits with 1 then.

    Example: `ragstone drift`
    """
    found = run(_drift(settings_of(context)))
    if json:
        print_json([{"generation": g.id, "model": g.fingerprint.spec.get("model"), "deviation": d} for g, d in found])
    elif not found:
        typer.echo("nothing is indexed yet, so there is no model to check")
    else:
        for generation, deviation in found:
            model = generation.fingerprint.spec.get("model")
            typer.secho(
                "ok    " if deviation is None else "DRIFT ", fg="green" if deviation is None else "red", nl=False
            )
            typer.echo(f"{model}, generation {generation.id}" + (f": {deviation}" if deviation else ""))
    if any(deviation for _, deviation in found):
        raise typer.Exit(EXIT_ERROR)


def gc(
    context: typer.Context,
    everything: Annotated[
        bool, typer.Option("--all", help="All generations that do not serve, whatever their age: no rollback any more.")
    ] = False,
    json: Json = False,
) -> None:
    """Let go of what nothing needs: old generations, unused vectors, history and tombstones past their time.

    `worker` and `serve` do it every hour.

    Example: `ragstone gc`
    """
    swept = run(_gc(settings_of(context), everything))
    if json:
        print_json(swept)
    else:
        typer.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in asdict(swept).items()) + " let go")


def _tell(done: Reindexed) -> None:
    for name, report in done.reports.items():
        typer.echo(summary(name, report))
    if done.comparison:
        typer.echo(_in_words(done.comparison))
    if not done.objections:
        typer.secho(f"generation {done.generation.id} serves; `ragstone rollback` goes back", fg="green")
        return
    for objection in done.objections:
        typer.secho(f"not switched: {objection}", fg="red", err=True)
    typer.echo("  the old generation goes on serving; --force switches whatever the comparison says", err=True)


def _in_words(found: Comparison) -> str:
    origin = {"given": "given questions", "asked": "questions that were asked", "headings": "headings of documents"}
    words = f"compared on {found.questions} {origin[found.origin]}: overlap@{found.k} {found.overlap:.3f}"
    if found.ndcg_before is not None:
        words += f", nDCG@{found.k} {found.ndcg_before:.3f} before, {found.ndcg_after:.3f} after"
    return words


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"about {hours} h {minutes} min" if hours else f"about {minutes} min {rest} s"


async def _plan(settings: Settings, sample: int, *, quiet: bool) -> Plan:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        with bar("plan", quiet) as progress:
            return await ragstone.upkeep.plan(progress, sample=sample)


async def _reindex(
    settings: Settings, questions: Path | None, accept_loss: bool, force: bool, *, quiet: bool
) -> Reindexed:
    from ragstone.app import open_ragstone
    from ragstone.evaluation.comparison import read_questions

    given = read_questions(questions) if questions else []
    async with open_ragstone(settings) as ragstone:
        with bar("reindex", quiet) as progress:
            return await ragstone.upkeep.reindex(progress, questions=given, accept_loss=accept_loss, force=force)


async def _rollback(settings: Settings) -> Generation:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        return await ragstone.upkeep.generations.rollback()


async def _generations(settings: Settings) -> list[dict[str, Any]]:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        collection = await ragstone.catalog.collection(settings.tenant, settings.collection)
        if collection is None:
            return []
        stats = {one.generation: one for one in (await ragstone.catalog.stats(collection)).generations}
        states = {collection.serving: "serving", collection.previous: "standby"}
        return [
            {
                "id": generation.id,
                "state": "quarantine" if generation.quarantine else states.get(generation.id, "built"),
                "model": generation.fingerprint.spec.get("model"),
                "chunking": "{strategy}, {max_tokens} tokens".format_map(generation.settings["chunking"]),
                "parser": generation.settings["parser"],
                "documents": stats[generation.id].documents,
                "chunks": stats[generation.id].chunks,
                "created_at": generation.created_at,
                "served_at": generation.served_at,
                "checked_at": generation.checked_at,
                "quarantine": generation.quarantine,
            }
            for generation in await ragstone.catalog.generations(collection)
        ]


async def _drift(settings: Settings) -> list[tuple[Generation, str | None]]:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        return await ragstone.upkeep.generations.check_drift()


async def _gc(settings: Settings, everything: bool) -> Swept:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        return await ragstone.upkeep.generations.gc(everything=everything)
