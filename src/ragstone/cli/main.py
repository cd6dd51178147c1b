"""The `ragstone` command: every subcommand, and how errors end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ragstone import __version__
from ragstone.cli import (
    asking,
    auditing,
    capacity,
    chunk_lab,
    chunks,
    evaluating,
    generations,
    index_group,
    indexing,
    operating,
    setup,
    tuning,
    working,
)
from ragstone.cli.context import EXIT_ERROR, print_error
from ragstone.errors import RagstoneError

app = typer.Typer(
    name="ragstone",
    help="Index documents and answer questions from them, with citations, or say that they do not hold the answer.",
    epilog="Start: ragstone index ./docs && ragstone ask 'How do I …?'   Exit codes: 0 done, 1 error, 2 wrong "
    "usage, 3 no answer in the documents, 4 documents were skipped under --strict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
models = typer.Typer(
    help="Embedding models: what there is, what is here, and whether it is intact.", no_args_is_help=True
)
app.add_typer(models, name="models")
jobs = typer.Typer(
    help="The queue of documents to index, and the dead letters: what could not be indexed.", no_args_is_help=True
)
app.add_typer(jobs, name="jobs")
index = typer.Typer(
    cls=index_group.PathsOrCommand,
    invoke_without_command=True,
    epilog="The commands are for the index itself; a folder of such a name is written `./status`.",
)
index.callback()(indexing.index)
app.add_typer(index, name="index")


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings file.", show_default="./ragstone.toml")
    ] = None,
    collection: Annotated[str | None, typer.Option(help="Work on another collection than the settings name.")] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Options of every command: they stand before its name."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
    context.obj = (config, collection)


COMMANDS: dict[str, Callable[..., None]] = {
    "init": setup.init,
    "ask": asking.ask,
    "search": asking.search,
    "explain": asking.explain,
    "status": operating.status,
    "sync": indexing.index,
    "worker": working.worker,
    "forget": indexing.forget,
    "plan": generations.plan,
    "reindex": generations.reindex,
    "rollback": generations.rollback,
    "generations": generations.generations,
    "drift": generations.drift,
    "gc": generations.gc,
    "fsck": auditing.fsck,
    "eval": evaluating.evaluate,
    "chunks": chunks.chunks,
    "chunk-lab": chunk_lab.chunk_lab,
    "capacity": capacity.capacity,
    "tune": tuning.tune,
    "serve": operating.serve,
    "doctor": operating.doctor,
}
MODELS_COMMANDS: dict[str, Callable[..., None]] = {
    "list": setup.models_list,
    "pull": setup.models_pull,
    "verify": setup.models_verify,
}
JOBS_COMMANDS: dict[str, Callable[..., None]] = {
    "list": working.jobs_list,
    "retry": working.jobs_retry,
    "drop": working.jobs_drop,
}
INDEX_COMMANDS: dict[str, Callable[..., None]] = {
    "status": index_group.status,
    "rebuild": index_group.rebuild,
    "snapshot": index_group.snapshot,
    "restore": index_group.restore,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
for name, command in MODELS_COMMANDS.items():
    models.command(name)(command)
for name, command in JOBS_COMMANDS.items():
    jobs.command(name)(command)
for name, command in INDEX_COMMANDS.items():
    index.command(name)(command)


def run() -> None:
    """Run a command. A mistake of the user's ends in its message and what to do, never in a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it warns of what is then mended or raised
    try:
        app()
    except RagstoneError as error:
        print_error(error)
        sys.exit(EXIT_ERROR)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has left: nobody is there to be told
        sys.exit(EXIT_ERROR)
