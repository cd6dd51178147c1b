"""`status`, `doctor` and `serve`: how it stands, whether it can work here, and the service."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli.context import EXIT_ERROR, Json, print_json, run, settings_of
from ragstone.errors import SettingsError
from ragstone.settings import Settings

if TYPE_CHECKING:
    from ragstone.app import Status

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def status(context: typer.Context, json: Json = False) -> None:
    """Show what is indexed, under which settings, and whether the index is up to date with the catalog.

    Example: `ragstone status --json | jq .lag`
    """
    state = run(_status(settings_of(context)))
    if json:
        print_json({**asdict(state), "lag": state.lag})
        return
    typer.echo(f"collection  {state.collection}")
    indexed = state.stats.last_indexed_at if state.stats else None
    when = f"{indexed.astimezone():%Y-%m-%d %H:%M:%S}" if indexed else "never"
    typer.echo(f"documents   {state.documents}, last indexed {when}")
    typer.echo(f"chunks      {state.chunks}")
    if state.generation:
        fingerprint = state.generation.fingerprint
        typer.echo(
            f"embedding   {fingerprint.spec['model']} ({fingerprint.spec['provider']}), {fingerprint.digest[:12]}"
        )
        typer.echo(f"chunking    {_in_line(state.generation.settings['chunking'])}")
    typer.echo(f"index       at position {state.position} of {state.head}" + (" (behind)" if state.lag else ""))
    if state.queue:
        queue = state.queue
        typer.echo(f"queue       {queue.waiting} waiting, {queue.running} running, {queue.later} to be tried again; "
                   f"{queue.workers} workers")  # fmt: skip
    if state.failures:
        typer.secho(f"not indexed {state.failures} documents: `ragstone jobs list` tells why", fg="yellow")
    if state.generation and state.generation.quarantine:
        typer.secho(f"QUARANTINE  {state.generation.quarantine}", fg="red")


def doctor(context: typer.Context, json: Json = False) -> None:
    """Check this machine and these settings: what is missing or wrong, and what to do. Exits with 1 when something is.

    Example: `ragstone doctor`
    """
    from ragstone.cli.checks import examine

    findings = run(examine(settings_of(context)))
    if json:
        print_json(findings)
    else:
        for finding in findings:
            typer.secho("ok    " if finding.ok else "WRONG ", fg="green" if finding.ok else "red", nl=False)
            typer.echo(f"{finding.what}: {finding.found}" + (f"\n      try: {finding.hint}" if finding.hint else ""))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(EXIT_ERROR)


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Loopback only.", show_default="settings")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 takes a free one.", show_default="settings")
    ] = None,
) -> None:
    """Serve the HTTP API until interrupted, and keep the index up to date; its documentation is at /docs.

    A worker runs beside it, at low priority, when ragstone.toml names sources (`indexing.worker = false`: none does).

    Example: `ragstone serve --port 9000`, then
    `curl -N localhost:9000/v1/answers --json '{"question": "…", "stream": true}'`
    """
    settings = settings_of(context)
    address = host or settings.server.host
    if address not in LOOPBACK:
        raise SettingsError(
            f"refusing to serve on {address}: there are no keys, so anyone could read the documents",
            hint="serve on 127.0.0.1 behind a proxy that authenticates",
        )
    from ragstone.cli.serving import beside, listen, serve_on

    with listen(address, settings.server.port if port is None else port) as listener, beside(context, settings):
        run(serve_on(listener, settings))


async def _status(settings: Settings) -> Status:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        return await ragstone.status()


def _in_line(values: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
