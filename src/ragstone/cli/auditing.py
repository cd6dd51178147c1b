"""`fsck`: whether the index holds what the catalog says, and mending it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.context import EXIT_ERROR, SHORT_ID, Json, Steps, bars, print_json, run, settings_of
from ragstone.cli.failures import readable
from ragstone.settings import Settings

if TYPE_CHECKING:
    from ragstone.app import Ragstone
    from ragstone.index.audit import Audit, Repair, ScopeAudit


def fsck(
    context: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write what is wrong anew, and let go of what should not be there.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare the index with the catalog, point by point and both ways, for every tenant.

    Finds points that are missing, left over, of another text than the catalog has (wrong hash), in another model's
    vector space (wrong fingerprint) or with another tenant (wrong tenant). Documents that change meanwhile are left
    out. It may run beside everything else. Exits with 1 when something is wrong and was not mended.

    A worker does it every `index.audit_hours` and tells what it found in its log and metrics; it mends nothing.

    Examples: `ragstone fsck`, `ragstone fsck --repair`, `ragstone fsck --json | jq .left.points`
    """
    done = run(_fsck(settings_of(context), repair, quiet=json))
    if json:
        print_json(for_programs(done))
    else:
        tell(done)
    if not done.left.clean:
        raise typer.Exit(EXIT_ERROR)


async def _fsck(settings: Settings, repair: bool, *, quiet: bool) -> Repair:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        if (lag := await ragstone.lag()) and not quiet:
            typer.echo(f"the index is {lag:,} changes behind: waiting for it", err=True)
        with bars(quiet) as show:
            return await compare(ragstone, show, repair=repair)


async def compare(ragstone: Ragstone, show: Steps, *, repair: bool) -> Repair:
    """An audit, and mending what it finds if that is wanted, under a bar."""
    from ragstone.index.audit import Auditor, Repair
    from ragstone.indexing.auditing import index_name

    total, done = (await ragstone.index.health()).points, 0

    def notice(points: int) -> None:
        nonlocal done
        done += points
        show("compare", done, max(done, total))

    auditor = Auditor(ragstone.catalog, ragstone.index, index_name(ragstone.settings), notice=notice)
    if repair:
        return await auditor.repair()
    audit = await auditor.audit()
    return Repair(found=audit, left=audit, logged=0, dropped=0)


def tell(done: Repair) -> None:
    """What was compared, found, and done about it, for people."""
    found, left = done.found, done.left
    points = sum(one.expected for one in found.scopes)
    typer.echo(
        f"compared {points:,} points of {sum(one.held for one in found.scopes):,} generations at position "
        f"{found.position} in {found.seconds:.1f} s"
    )
    if found.moving:
        typer.echo(f"left out {found.moving:,} documents that changed meanwhile")
    if not found.clean:
        _print_wrong(found)
    if done.logged or done.dropped:
        typer.echo(f"mended: {done.logged:,} documents written again, {done.dropped:,} generations let go")
    if left.clean:
        typer.secho("the index holds what the catalog does", fg="green")
    elif done.logged or done.dropped:
        typer.secho(f"still wrong: {left.points:,} points; run it again, or `ragstone index rebuild`", fg="red")
    else:
        typer.secho(f"wrong: {left.points:,} points; `ragstone fsck --repair` mends them", fg="red")


def for_programs(done: Repair) -> dict[str, Any]:
    """A repair as JSON has it."""
    return {
        "clean": done.left.clean,
        "logged": done.logged,
        "dropped": done.dropped,
        "found": _audit(done.found),
        "left": _audit(done.left),
    }


def _audit(audit: Audit) -> dict[str, Any]:
    return {
        "clean": audit.clean,
        "position": audit.position,
        "seconds": audit.seconds,
        "moving": audit.moving,
        "documents": audit.documents,
        "points": audit.found,
        "scopes": [_scope(one) for one in audit.scopes],
    }


def _scope(one: ScopeAudit) -> dict[str, Any]:
    return {
        "tenant": one.scope.tenant,
        "generation": one.scope.generation,
        "fingerprint": one.scope.fingerprint,
        "held": one.held,
        "expected": one.expected,
        "present": one.present,
        "found": one.found,
        "documents": len(one.documents),
        "uris": sorted(one.uris.values()),
        "moving": one.moving,
    }


def _print_wrong(audit: Audit) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    wrong = [one for one in audit.scopes if not one.clean]
    kinds = [kind for kind, count in audit.found.items() if count]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("tenant", overflow="fold")
    table.add_column("generation", no_wrap=True)
    for name in ("catalog", "index", *(kind.replace("_", " ") for kind in kinds), "documents"):
        table.add_column(name, justify="right")
    for one in wrong:
        counts = (one.expected, one.present, *(one.found.get(kind, 0) for kind in kinds), len(one.documents))
        table.add_row(one.scope.tenant, str(one.scope.generation)[:SHORT_ID], *(f"{count:,}" for count in counts))
    Console().print(table)
    uris = sorted({uri for one in wrong for uri in one.uris.values()})
    for uri in uris:
        typer.echo(f"  {readable(uri)}")
    if (more := audit.documents - len(uris)) > 0:
        typer.echo(f"  and {more:,} more documents")
