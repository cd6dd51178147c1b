"""`index` and `forget`: documents into the catalog, with a bar while it runs and a summary at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli.context import EXIT_ERROR, EXIT_SKIPPED, Json, ensure_model, print_error, print_json, run, settings_of
from ragstone.cli.failures import SHOWN, print_failures
from ragstone.errors import SettingsError, SourceError
from ragstone.settings import Settings

if TYPE_CHECKING:
    from ragstone.indexing.report import Progress, Report

INDEX_WAIT = 600.0  # seconds


def index(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Folders, files, or sources of ragstone.toml; without any, all of those sources."),
    ] = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Believe a source that lists nothing: delete what it had.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 4 when a document was skipped.")] = False,
    json: Json = False,
) -> None:
    """Index documents: what is new or changed is read and embedded, what is gone is deleted.

    Examples: `ragstone index ./docs`, `ragstone index handbook equipment`,
    `ragstone index --json ./docs | jq .skipped`
    """
    if context.invoked_subcommand is not None:
        return
    settings = settings_of(context)
    names = list(paths or settings.sources)
    if not names:
        raise SettingsError("nothing to index", hint="name a folder, or add a source to ragstone.toml")
    ensure_model(settings)
    start = time.monotonic()
    reports, errors = run(_index(settings, names, allow_empty, quiet=json))
    finish(reports, time.monotonic() - start, json)
    for error in errors:
        print_error(error)
    if errors:
        raise typer.Exit(EXIT_ERROR)
    if strict and any(report.skipped for report in reports.values()):
        raise typer.Exit(EXIT_SKIPPED)


def forget(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A source: a name of ragstone.toml, or the path it was indexed by.")],
    json: Json = False,
) -> None:
    """Remove a source and its documents: they are in no answer from then on.

    Example: `ragstone forget ./old-docs`
    """
    count = run(_forget(settings_of(context), name))
    print_json({"deleted": count}) if json else typer.echo(f"{name}: {count} documents deleted")


async def _index(
    settings: Settings, names: list[str], allow_empty: bool, *, quiet: bool
) -> tuple[dict[str, Report], list[SourceError]]:
    """A source that cannot be read keeps none of the others from being indexed."""
    from ragstone.app import open_ragstone

    reports, errors = {}, []
    async with open_ragstone(settings) as ragstone:
        sources = {name: ragstone.upkeep.source(name) for name in names}
        for name, source in sources.items():
            try:
                with bar(name, quiet) as progress:
                    reports[name] = await ragstone.upkeep.sync(source, progress, allow_empty=allow_empty)
            except SourceError as error:
                errors.append(error)
        if not await ragstone.caught_up(INDEX_WAIT):
            typer.secho("the index is still behind: `ragstone status` shows how far", fg="yellow", err=True)
    return reports, errors


async def _forget(settings: Settings, name: str) -> int:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        return await ragstone.upkeep.forget(name)


@contextmanager
def bar(title: str, quiet: bool) -> Iterator[Progress]:
    """A progress bar on standard error; nothing when quiet."""
    if quiet:
        yield lambda report: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn("{task.fields[account]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=None, account="")
        start = time.monotonic()

        def show(report: Report) -> None:
            speed = report.chunks / max(time.monotonic() - start, 0.001)
            account = f"{speed:.0f} chunks/s, {report.embedded} embedded, {report.reused} reused"
            failed = f", {len(report.skipped)} failed" if report.skipped else ""
            bars.update(task, total=report.listed, completed=report.done, account=account + failed)

        yield show


def finish(reports: dict[str, Report], seconds: float, json: bool) -> None:
    """What was done, and what was not and why."""
    skipped = [skip for report in reports.values() for skip in report.skipped]
    if json:
        print_json({"sources": reports, "skipped": skipped, "seconds": seconds})
        return
    for name, report in reports.items():
        typer.echo(summary(name, report))
    print_failures(skipped, SHOWN)
    chunks = sum(report.chunks for report in reports.values())
    speed = f", {chunks / seconds:.0f} chunks/s" if chunks else ""
    typer.echo(f"took {seconds:.1f} s{speed}")


def summary(name: str, report: Report) -> str:
    """One line for people."""
    cost = f"; {report.tokens:,} tokens, {report.money:.4f} to pay" if report.tokens else ""
    return (
        f"{name}: {report.published} indexed, {report.unchanged + report.touched} unchanged, {report.deleted} deleted, "
        f"{len(report.skipped)} skipped; {report.chunks} chunks, {report.embedded} embedded, {report.reused} reused"
        f"{cost}"
    )
