"""What could not be indexed, for people: grouped by what there is to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from urllib.parse import unquote, urlsplit

import typer

from ragstone.models import Failure, Skip

SHOWN = 50
"""Documents that a summary names; `jobs list` names all."""


def readable(uri: str) -> str:
    """A file as a path from here; any other URI as it is."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return uri
    path = Path(unquote(parts.path))
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def print_failures(failures: Iterable[Skip | Failure], most: int | None = None) -> None:
    """What to do stands once above the documents that it helps. At most `most` of them are named, the rest counted."""
    found = sorted(failures, key=lambda one: (one.code, one.hint, one.uri))
    shown = found[:most]
    for (code, hint), same in groupby(shown, key=lambda one: (one.code, one.hint)):
        typer.secho(f"  {code}" + (f"  try: {hint}" if hint else ""), fg="yellow")
        for failure in same:
            typer.echo(f"    {' '.join(_words(failure))}")
    if len(found) > len(shown):
        typer.echo(f"  and {len(found) - len(shown):,} more: `ragstone jobs list` names them all")


def _words(failure: Skip | Failure) -> Iterator[str]:
    # The reason mostly begins with the name, which stands before it already.
    where = readable(failure.uri)
    name = where.rpartition("/")[2]
    yield where + ":"
    yield failure.reason.removeprefix(where).removeprefix(name).lstrip(": ")
    if isinstance(failure, Failure):
        if failure.attempts > 1:
            yield f"({failure.attempts} attempts)"
        if failure.dropped:
            yield "(dropped)"
