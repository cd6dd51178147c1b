"""What commands share: their settings, their console, their exit codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar
from uuid import UUID

import typer

from ragstone.errors import RagstoneError
from ragstone.settings import Settings, load

EXIT_ERROR = 1
EXIT_REFUSED = 3
EXIT_SKIPPED = 4
SHORT_ID = 8
"""Characters that a table shows of a generation's id: its columns must fit a terminal. JSON has all of them."""

T = TypeVar("T")

Steps: TypeAlias = Callable[[str, int, int], None]
"""Told the name of a step, how much of it is done, and of how much."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def _something(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("it is blank")
    return text


Question = Annotated[str, typer.Argument(help="In plain words, in quotes.", callback=_something)]


def settings_of(context: typer.Context) -> Settings:
    """The settings that the options before the command's name chose."""
    config, collection = context.obj
    settings = load(config)
    return settings.model_copy(update={"collection": collection}) if collection else settings


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end."""
    return asyncio.run(work)


@contextmanager
def bars(quiet: bool) -> Iterator[Steps]:
    """A bar on standard error for each step, from when it begins; nothing when quiet."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as shown:
        tasks: dict[str, TaskID] = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = shown.add_task(step)
            shown.update(tasks[step], completed=done, total=total)

        yield show


def ensure_model(settings: Settings) -> None:
    """Fetch the local embedding model when it is not here yet, and say so. Raises ModelError."""
    if settings.embedding.provider != "local":
        return
    pull_model(settings, settings.embedding.model, settings.embedding.revision)


def pull_model(settings: Settings, name: str, revision: str) -> Path:
    """The folder of the model, whose files are fetched where they are not here, with a word on stderr."""
    from ragstone.embedding.choosing import origin_of
    from ragstone.embedding.files import cache_folder, pull
    from ragstone.embedding.model_list import Folder

    origin = origin_of(name, revision)
    size = None if isinstance(origin, Folder) else origin.megabytes
    phases = {
        "download": f"fetching the model {name}{f', about {size} MB' if size else ''} …",
        "check": "checking it …",
    }
    return pull(origin, cache_folder(settings.cache_dir), lambda phase: typer.echo(phases[phase], err=True))


def print_error(error: RagstoneError) -> None:
    """The message and what to do, on standard error."""
    typer.secho(f"error: {error}", fg="red", err=True)
    if error.hint:
        typer.secho(f"  try: {error.hint}", err=True)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Dataclasses, ids, times and paths become what a program would expect of them."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=indent))


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID | Path):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"no JSON for {type(value).__name__}")
