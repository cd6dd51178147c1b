"""`index`: documents by their paths; and the index itself: `status`, `rebuild`, `snapshot`, `restore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ragstone.cli.auditing import compare, for_programs, tell
from ragstone.cli.context import EXIT_ERROR, SHORT_ID, Json, bars, print_json, run, settings_of
from ragstone.errors import SettingsError
from ragstone.settings import Settings

if TYPE_CHECKING:
    from typer._click import Context
    from typer._click.core import Parameter

    from ragstone.app import Ragstone
    from ragstone.catalog.auditing import LastAudit
    from ragstone.index.audit import Repair
    from ragstone.index.edge.snapshot import Snapshot

OWN_TOOLS: Mapping[str, str] = {
    "exact": "it is made anew from the catalog in every process: there is nothing to save",
    "pgvector": "it lives in the catalog's database: pg_dump saves both",
    "qdrant": "Qdrant makes its own: POST /collections/NAME/snapshots at the server",
    "weaviate": "Weaviate makes its own: POST /v1/backups/BACKEND at the server",
}
"""How indexes are saved that are not this machine's folder."""


class PathsOrCommand(TyperGroup):
    """A group that is a command too: its arguments are its own, unless the first is the name of one of its commands."""

    allow_interspersed_args = True

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            return super().parse_args(ctx, args)
        super().parse_args(ctx, [])
        ctx._protected_args, ctx.args = args[:1], args[1:]
        return ctx.args

    def get_params(self, ctx: Context) -> list[Parameter]:
        """The usage of one of its commands shows no paths: it takes none."""
        return super().get_params(ctx) if ctx.command is self else []


def status(context: typer.Context, json: Json = False) -> None:
    """Show the index's engine, whether it is up to date with the catalog, and what it holds of each generation.

    Example: `ragstone index status --json | jq .lag`
    """
    state = run(_status(settings_of(context)))
    if json:
        print_json(state)
        return
    behind = f", {state['lag']:,} changes behind" if state["lag"] else ""
    told = {
        "engine": f"{state['engine']} {state['version']}, {state['state'].replace('_', ' ')}",
        "position": f"{state['position']} of {state['head']}{behind}",
        "points": f"{state['points']:,}, {state['unbuilt']:,} of them not in the graphs yet",
        **{name.replace("_", " "): value for name, value in state["details"].items()},
        "audited": _audited(state["audit"]),
    }
    width = max(11, *map(len, told))
    for name, value in told.items():
        typer.echo(f"{name:{width}} {value}")
    if state["generations"]:
        _print_generations(state["generations"])
    else:
        typer.echo("nothing is indexed yet: `ragstone index PATH` does")


def rebuild(
    context: typer.Context,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Empty the index first: for a damaged one. Searches find less meanwhile."),
    ] = False,
    json: Json = False,
) -> None:
    """Write the whole index anew from the catalog, while it serves, and let go of what should not be in it.

    Nothing is embedded for it: the catalog has the vectors. Exits with 1 when something is wrong even then.

    Examples: `ragstone index rebuild`, `ragstone index rebuild --from-scratch`
    """
    documents, done = run(_rebuild(settings_of(context), from_scratch, quiet=json))
    if json:
        print_json({"documents": documents, **for_programs(done)})
    else:
        typer.echo(f"{documents:,} documents written")
        tell(done)
    if not done.left.clean:
        raise typer.Exit(EXIT_ERROR)


def snapshot(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to write.", dir_okay=False)],
    json: Json = False,
) -> None:
    """Save the index in a file, while it serves. Only the edge engine: others have their own tools.

    It saves the time of a rebuild, on this machine or on another of the same catalog; the catalog is what must not be
    lost.

    Example: `ragstone index snapshot index.tar.gz`
    """
    settings = _of_edge(settings_of(context))
    if not file.absolute().parent.is_dir():
        raise SettingsError(f"cannot write {file}: there is no folder {file.parent}", hint="make it first")
    made = run(_snapshot(settings, file))
    if json:
        print_json(made)
    else:
        typer.echo(f"{file}: {made.points:,} points at position {made.position}, {made.size / 2**20:,.1f} MB")


def restore(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="A file that `ragstone index snapshot` wrote.", exists=True, dir_okay=False)
    ],
    json: Json = False,
) -> None:
    """Put a saved index in this one's place; it then follows the catalog from where the file was made.

    Stop the processes that use this data folder first. A file of another catalog is refused.

    Example: `ragstone index restore index.tar.gz`
    """
    settings = _of_edge(settings_of(context))
    made = run(_restore(settings, file))
    print_json(made) if json else typer.echo(f"restored {made.points:,} points, at position {made.position}")


def _of_edge(settings: Settings) -> Settings:
    """Raises SettingsError for another engine."""
    engine = settings.index.engine
    if engine != "edge":
        raise SettingsError(f"snapshots are of the edge engine, and this index is {engine}", hint=OWN_TOOLS[engine])
    return settings


def _audited(audit: LastAudit | None) -> str:
    from ragstone.indexing.auditing import in_words

    if audit is None:
        return "never: `ragstone fsck` does"
    return f"{audit.at.astimezone():%Y-%m-%d %H:%M}, found {in_words(audit.found) or 'nothing wrong'}"


def _print_generations(generations: Sequence[Mapping[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("tenant", "collection"):
        table.add_column(name, overflow="fold")
    for name in ("generation", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("chunks in catalog", "points in index"):
        table.add_column(name, justify="right")
    for row in generations:
        plain = (row["tenant"], row["collection"], str(row["generation"])[:SHORT_ID], row["state"])
        table.add_row(*plain, f"{row['chunks']:,}", f"{row['points']:,}")
    Console().print(table)


# --- the work ---------------------------------------------------------------------------------------------------


async def _status(settings: Settings) -> dict[str, Any]:
    from ragstone.app import open_ragstone
    from ragstone.indexing.auditing import index_name

    async with open_ragstone(settings) as ragstone:
        auditing = ragstone.catalog.auditing
        health, head = await ragstone.index.health(), await ragstone.catalog.head()
        return {
            **asdict(health),
            "head": head,
            "lag": max(0, head - health.position),
            "audit": await auditing.last(index_name(settings)),
            "generations": [*await _held(ragstone), *await _strays(ragstone)],
        }


async def _held(ragstone: Ragstone) -> list[dict[str, Any]]:
    return [
        {
            "tenant": one.scope.tenant,
            "collection": one.collection,
            "generation": one.scope.generation,
            "state": "serving" if one.serving else "built",
            "documents": one.documents,
            "chunks": one.chunks,
            "points": await ragstone.index.count(one.scope),
        }
        for one in await ragstone.catalog.auditing.holdings()
    ]


async def _strays(ragstone: Ragstone) -> list[dict[str, Any]]:
    """What the index has that the catalog does not know."""
    present = await ragstone.index.scopes()
    held = set(await ragstone.catalog.auditing.scopes())
    return [
        {
            "tenant": scope.tenant,
            "collection": "",
            "generation": scope.generation,
            "state": "left over",
            "documents": 0,
            "chunks": 0,
            "points": await ragstone.index.count(scope),
        }
        for scope in present
        if scope not in held
    ]


async def _rebuild(settings: Settings, from_scratch: bool, *, quiet: bool) -> tuple[int, Repair]:
    from ragstone.app import open_ragstone
    from ragstone.index.rebuild import rebuild

    async with open_ragstone(settings) as ragstone:
        with bars(quiet) as show:
            documents = await rebuild(
                ragstone.catalog,
                ragstone.index,
                lambda done, total: show("rebuild", done, total),
                from_scratch=from_scratch,
            )
            return documents, await compare(ragstone, show, repair=True)


async def _snapshot(settings: Settings, file: Path) -> Snapshot:
    from ragstone.app import open_ragstone
    from ragstone.index.edge.client import EdgeIndex

    async with open_ragstone(settings) as ragstone:
        assert isinstance(ragstone.index, EdgeIndex)
        return await ragstone.index.snapshot(file)


async def _restore(settings: Settings, file: Path) -> Snapshot:
    from ragstone.app import open_catalog
    from ragstone.index.edge.snapshot import restore

    async with open_catalog(settings) as catalog:
        source = await catalog.identity()
    return await restore(settings.data_dir, file, source=source)
