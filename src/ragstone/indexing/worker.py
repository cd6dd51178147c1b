"""A worker takes jobs from the queue and runs each document through the pipeline, several at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

from ragstone.catalog.queue import LEASE, SCHEMA, TASK, Job, Lane
from ragstone.errors import CatalogUnavailable, DocumentError, ProviderError, RagstoneError
from ragstone.indexing.pipeline import Outcome, Pipeline
from ragstone.indexing.retry import judge, wait
from ragstone.models import Failure
from ragstone.sources.base import Source

if TYPE_CHECKING:
    from procrastinate import App
    from psycopg import AsyncConnection

GRACE = 30.0
"""Seconds that documents under way are given when the worker is told to stop; then their jobs are handed back."""

POLL = 1.0
"""Seconds between looks at the queue, should a notification have been lost."""

STOPPED = 60.0
"""Seconds until the next try after a failure that only an operator can mend."""

logger = logging.getLogger(__name__)
logging.getLogger("procrastinate").setLevel(logging.CRITICAL)  # what it reports as an error is a job handed on

Notice: TypeAlias = Callable[[Job, Outcome | RagstoneError], None]
"""Called when a job is done: what became of the document, or why it was not indexed (now)."""


class Worker:
    """Any number may work on one collection, in any processes, on any machine; a document is with one at a time."""

    def __init__(
        self,
        pipeline: Pipeline,
        sources: Callable[[str], Source],
        *,
        concurrency: int,
        attempts: int,
        digest: str,
        notice: Notice | None = None,
        random: Random | None = None,
    ) -> None:
        """`attempts`: tries before a transient failure is put down as one. `digest`: of the settings failed under."""
        self._pipeline = pipeline
        self._catalog = pipeline.catalog
        self._collection = pipeline.collection
        self._sources = sources
        self._concurrency = concurrency
        self._attempts = attempts
        self._digest = digest
        self._notice = notice or (lambda job, result: None)
        self._random = random or Random()  # noqa: S311 (jitter)
        self._fatal: RagstoneError | None = None
        self._halt: Callable[[], object] | None = None  # ends a run that a fatal error should end

    async def run(self) -> None:
        """Work until cancelled. Documents under way are finished, or handed back after GRACE seconds."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_taking_back())
            while True:
                try:
                    async with self._app() as app:
                        await app.run_worker_async(**self._options(), wait=True)
                except CatalogUnavailable as error:
                    logger.warning("%s; trying again", error)
                await asyncio.sleep(POLL)  # it ended because PostgreSQL went away

    async def drain(self) -> None:
        """Work until no job is running or due, anywhere.

        Raises the first error that would meet every other document too; the jobs stay in the queue.
        """
        if not await self._catalog.queue.busy(self._collection):
            return
        self._halt = lambda: None
        async with self._app() as app:
            while True:
                await self._once(app)
                if self._fatal is not None:
                    raise self._fatal
                if not await self._catalog.queue.busy(self._collection):
                    return
                await asyncio.sleep(0.1)
                await self._catalog.queue.take_back(self._collection)

    async def _once(self, app: App) -> None:
        """Take jobs until there is none; stopped early by a fatal error."""
        running = asyncio.create_task(app.run_worker_async(**self._options(), wait=False))
        self._halt = running.cancel
        try:
            await running
        except asyncio.CancelledError:
            if self._fatal is None:
                raise

    # --- one job ------------------------------------------------------------------------------------------------

    async def work(self, source: str, uri: str, lane: Lane, attempt: int, error: str) -> None:
        """One job, as its arguments in the queue have it."""
        job = Job(source=source, uri=uri, lane=lane, attempt=attempt, error=error)
        outcome = Outcome(fate="unchanged")
        try:
            await self._pipeline.index(self._sources(source), uri, lane, outcome)
        except asyncio.CancelledError:
            await asyncio.shield(self._hand_back(job, 0.0, error))
            raise
        except RagstoneError as failed:
            await self._failed(job, outcome, failed)
        except Exception as failed:
            logger.exception("%s", uri)
            await self._failed(job, outcome, DocumentError(f"{type(failed).__name__}: {failed}"))
        else:
            self._notice(job, outcome)

    async def _failed(self, job: Job, outcome: Outcome, error: RagstoneError) -> None:
        judgement = judge(error)
        if self._halt is not None and (judgement == "stop" or isinstance(error, ProviderError | CatalogUnavailable)):
            self._fatal = self._fatal or error
            self._halt()
            await asyncio.shield(self._hand_back(job, 0.0, str(error)))
        elif judgement == "stop":
            logger.error("%s; %s", error, error.hint)
            await self._hand_back(job, STOPPED, str(error))
        elif judgement == "later" and job.attempt < self._attempts:
            await self._hand_back(job, wait(error, job.attempt, self._random), str(error), attempt=job.attempt + 1)
        else:
            await self._put_down(job, outcome, error)
        self._notice(job, error)

    async def _hand_back(self, job: Job, delay: float, error: str, *, attempt: int | None = None) -> None:
        again = Job(
            source=job.source, uri=job.uri, lane=job.lane, attempt=attempt or job.attempt, error=error, delay=delay
        )
        await self._catalog.queue.add(self._collection, [again])

    async def _put_down(self, job: Job, outcome: Outcome, error: RagstoneError) -> None:
        failure = Failure(
            uri=job.uri,
            source=job.source,
            revision=outcome.revision,
            settings=self._digest,
            code=error.code,
            reason=str(error),
            hint=error.hint,
            attempts=job.attempt,
        )
        await self._catalog.record_failures(self._collection, [failure])

    # --- the queue ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _app(self) -> AsyncIterator[App]:
        """procrastinate's side of this worker: two connections that take and finish jobs, and one that listens."""
        from procrastinate import App, PsycopgConnector, exceptions
        from psycopg_pool import PoolTimeout

        connector = PsycopgConnector(
            conninfo=self._catalog.url, min_size=1, max_size=2, timeout=10.0, configure=_on_its_schema
        )
        app = App(connector=connector)
        app.task(name=TASK)(self.work)
        try:
            async with app.open_async():
                yield app
        except (exceptions.ConnectorException, PoolTimeout) as error:
            raise CatalogUnavailable(f"the queue cannot be reached: {error.__cause__ or error}") from error

    def _options(self) -> dict[str, Any]:
        return {
            "queues": [str(self._collection.id)],
            "concurrency": self._concurrency,
            "delete_jobs": "always",
            "install_signal_handlers": False,
            "shutdown_graceful_timeout": GRACE if self._fatal is None else 0.0,
            "fetch_job_polling_interval": POLL,
            "update_heartbeat_interval": LEASE / 5,
            "stalled_worker_timeout": LEASE,
        }

    async def _keep_taking_back(self) -> None:
        while True:
            try:
                if lost := await self._catalog.queue.take_back(self._collection):
                    logger.warning("%d jobs of a worker that died are run again", lost)
            except CatalogUnavailable as error:
                logger.warning("%s; trying again", error)
            await asyncio.sleep(LEASE / 2)


async def _on_its_schema(connection: AsyncConnection[Any]) -> None:
    await connection.execute(f"SET search_path = {SCHEMA}, pg_temp".encode())
    await connection.commit()
