"""`worker` and `jobs`: keeping up with the sources, and the queue in between."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragstone.cli.context import Json, ensure_model, print_json, run, settings_of
from ragstone.cli.failures import print_failures, readable
from ragstone.errors import RagstoneError, SettingsError
from ragstone.settings import Settings

if TYPE_CHECKING:
    from ragstone.app import Ragstone
    from ragstone.catalog.catalog import Catalog
    from ragstone.catalog.queue import Job, QueuedJob
    from ragstone.indexing.pipeline import Outcome
    from ragstone.models import Collection, Failure

NICENESS = 10
"""Added to the process's own: questions go first."""

EVERYTHING = 10**6  # jobs to look through for those that are named

Uris = Annotated[list[str] | None, typer.Argument(help="Documents by their URIs or paths, or the beginnings of them.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


def worker(
    context: typer.Context,
    sources: Annotated[
        list[str] | None, typer.Argument(help="Sources of ragstone.toml; without any, all of them.")
    ] = None,
    jobs_only: Annotated[bool, typer.Option("--jobs-only", help="Follow no source, only work on the queue.")] = False,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Serve Prometheus metrics on loopback; 0 serves none.")
    ] = 0,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="End when standard input ends.")] = False,
    json: Json = False,
) -> None:
    """Follow the sources and index what changes, until stopped; run as many as there is work for.

    On SIGTERM it finishes what is under way, or hands it back. One of several workers follows each source, all of them
    work on the queue.

    Examples: `ragstone worker`, `ragstone worker --jobs-only --metrics-port 9100`, `ragstone worker --json | jq .`
    """
    settings = settings_of(context)
    if not jobs_only and not (sources or settings.sources):
        raise SettingsError(
            "there is no source to follow", hint="add one to ragstone.toml, or work on the queue with --jobs-only"
        )
    ensure_model(settings)
    logging.getLogger("ragstone").setLevel(logging.WARNING if json else logging.INFO)
    os.nice(NICENESS)
    names = [] if jobs_only else list(sources or settings.sources)
    run(_until_told(_work(settings, names, metrics_port, json), with_parent=with_parent))


def jobs_list(context: typer.Context, json: Json = False) -> None:
    """List what waits, what runs, what is tried again, and the documents that could not be indexed, with the reason.

    Example: `ragstone jobs list --json | jq '.dead_letters[] | .uri'`
    """
    queued, failures = run(_jobs(settings_of(context)))
    if json:
        print_json({"jobs": queued, "dead_letters": failures})
        return
    if queued:
        typer.secho(f"{len(queued)} jobs", bold=True)
    for job in queued:
        error = f", after {job.attempt - 1} attempts: {job.error}" if job.error else ""
        typer.echo(f"  {readable(job.uri)} ({job.source}): {_state(job)}{error}")
    if failures:
        typer.secho(f"{len(failures)} dead letters", bold=True)
        print_failures(failures)
        typer.echo(
            "`ragstone jobs retry` tries documents again, `ragstone jobs drop` accepts that they are not indexed"
        )
    if not queued and not failures:
        typer.echo("nothing waits, and every document is indexed")


def jobs_retry(context: typer.Context, uris: Uris = None, everything: All = False, json: Json = False) -> None:
    """Try documents again that could not be indexed, or that wait for their next try: a worker takes them at once.

    Example: `ragstone jobs retry docs/scan.pdf`, `ragstone jobs retry --all`
    """
    _told(run(_retry(settings_of(context), _beginnings(uris, everything))), "will be tried again", everything, json)


def jobs_drop(context: typer.Context, uris: Uris = None, everything: All = False, json: Json = False) -> None:
    """Accept that documents are not indexed: they are not tried again before they change. Waiting jobs are removed.

    Example: `ragstone jobs drop docs/scan.pdf`
    """
    _told(run(_drop(settings_of(context), _beginnings(uris, everything))), "dropped", everything, json)


def _beginnings(uris: list[str] | None, everything: bool) -> tuple[str, ...]:
    if not uris and not everything:
        raise typer.BadParameter("name documents, or --all")
    if everything:
        return ("",)
    return (*(uris or ()), *(Path(uri).absolute().as_uri() for uri in uris or () if ":" not in uri))


def _told(count: int, what: str, everything: bool, json: bool) -> None:
    if not count and not everything:
        raise SettingsError(
            "no document that failed, or waits for its next try, begins like this", hint="see `ragstone jobs list`"
        )
    print_json({"documents": count}) if json else typer.echo(f"{count} documents {what}")


def _state(job: QueuedJob) -> str:
    if job.running:
        return "running"
    return f"again at {job.due.astimezone():%H:%M:%S}" if job.due else f"waiting ({job.lane})"


# --- the worker -----------------------------------------------------------------------------------------------------


async def _until_told(work: Any, *, with_parent: bool) -> None:
    """Run until SIGINT or SIGTERM, or until the parent is gone: cancelled, work ends as it should."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)

    def parent_is_gone() -> None:
        """Once: it would be told again and again, and each time cancel what is just being let go."""
        loop.remove_reader(sys.stdin.fileno())
        task.cancel()

    if with_parent:
        loop.add_reader(sys.stdin.fileno(), parent_is_gone)
    with suppress(asyncio.CancelledError):
        await task


async def _work(settings: Settings, names: Sequence[str], metrics_port: int, json: bool) -> None:
    from prometheus_client import CollectorRegistry, start_http_server

    from ragstone.app import open_ragstone
    from ragstone.indexing.auditing import index_name
    from ragstone.indexing.metrics import Metrics
    from ragstone.indexing.tasks import end

    registry = CollectorRegistry()
    metrics = Metrics(registry)
    if metrics_port:
        try:
            start_http_server(metrics_port, addr="127.0.0.1", registry=registry)
        except OSError as error:
            raise SettingsError(f"cannot serve metrics on port {metrics_port}: {error.strerror}") from None

    task = asyncio.current_task()

    def notice(job: Job, result: Outcome | RagstoneError) -> None:
        metrics(job, result)
        try:
            _tell(job, result, json)
        except BrokenPipeError:  # nobody reads it any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if task is not None:
                task.cancel()

    async with open_ragstone(settings) as ragstone:
        collection = await ragstone.catalog.ensure_collection(settings.tenant, settings.collection)
        for name in names:
            ragstone.upkeep.source(name)
        typer.echo(f"following {', '.join(names) or 'no source'}; working on the queue", err=True)
        measuring = asyncio.create_task(
            metrics.keep_measuring(
                ragstone.catalog, collection, ragstone.lag, ragstone.embedders.usage, index_name(settings)
            )
        )
        try:
            await ragstone.upkeep.keep_up(names, notice=notice)
        finally:
            await end(measuring)


def _tell(job: Job, result: Outcome | RagstoneError, json: bool) -> None:
    """A line for each document: JSON on standard output for programs, words on standard error for people."""
    if isinstance(result, RagstoneError):
        record: dict[str, Any] = {"uri": job.uri, "code": result.code, "reason": str(result), "hint": result.hint}
        record["attempt"] = job.attempt
        words = f"{job.uri}: {result.code}, {result}" + (f"; try: {result.hint}" if result.hint else "")
    else:
        record = {"uri": job.uri, "fate": result.fate, "chunks": result.chunks, "embedded": result.embedded}
        words = f"{job.uri}: {result.fate}, {result.chunks} chunks, {result.embedded} embedded"
    if json:
        print_json(record, indent=None)
    else:
        typer.echo(words, err=True)


# --- the queue ------------------------------------------------------------------------------------------------------


async def _jobs(settings: Settings) -> tuple[list[QueuedJob], list[Failure]]:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        collection = await ragstone.catalog.collection(settings.tenant, settings.collection)
        if collection is None:
            return [], []
        return await ragstone.catalog.queue.jobs(collection), await ragstone.catalog.failures(collection)


async def _retry(settings: Settings, beginnings: tuple[str, ...]) -> int:
    from ragstone.app import open_ragstone
    from ragstone.catalog.queue import Job

    async with open_ragstone(settings) as ragstone:
        collection = await ragstone.catalog.ensure_collection(settings.tenant, settings.collection)
        chosen = await _chosen(ragstone.catalog, collection, beginnings)
        # Cleared first: a worker may be quick, and fail anew.
        await ragstone.catalog.clear_failures(collection, list(chosen))
        jobs = [Job(source=source, uri=uri) for uri, source in chosen.items()]
        await ragstone.catalog.queue.add(collection, jobs)
        return len(jobs)


async def _drop(settings: Settings, beginnings: tuple[str, ...]) -> int:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        collection = await ragstone.catalog.ensure_collection(settings.tenant, settings.collection)
        chosen = await _chosen(ragstone.catalog, collection, beginnings)
        waiting = [job for job in await _tried_again(ragstone.catalog, collection) if job.uri in chosen]
        await ragstone.catalog.record_failures(collection, [await _failure(ragstone, job) for job in waiting])
        await ragstone.catalog.accept_failures(collection, list(chosen))
        await ragstone.catalog.queue.drop(collection, list(chosen))
        return len(chosen)


async def _failure(ragstone: Ragstone, job: QueuedJob) -> Failure:
    """A job that would have been tried again, as a dead letter of what its document is now."""
    from ragstone.models import Failure, Item

    try:
        found = await ragstone.upkeep.source(job.source).look(job.uri)
    except RagstoneError:
        found = None
    revision = found.revision if isinstance(found, Item) else None
    return Failure(
        uri=job.uri,
        source=job.source,
        revision=revision,
        settings="",
        code="unavailable",
        reason=job.error,
        attempts=job.attempt - 1,
    )


async def _chosen(catalog: Catalog, collection: Collection, beginnings: tuple[str, ...]) -> dict[str, str]:
    """The sources of documents that failed or are tried again, by URI."""
    found = {failure.uri: failure.source for failure in await catalog.failures(collection)}
    found |= {job.uri: job.source for job in await _tried_again(catalog, collection)}
    return {uri: source for uri, source in found.items() if uri.startswith(beginnings)}


async def _tried_again(catalog: Catalog, collection: Collection) -> list[QueuedJob]:
    return [job for job in await catalog.queue.jobs(collection, EVERYTHING) if job.error and not job.running]
