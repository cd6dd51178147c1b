"""procrastinate's side of a worker: it takes jobs from the queue, runs several at once, and finishes them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from procrastinate import App, PsycopgConnector, exceptions
from procrastinate.jobs import DeleteJobCondition, Job, Status
from procrastinate.manager import JobManager
from procrastinate.worker import Worker as Taker
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from ragstone.catalog.catalog import Catalog
from ragstone.catalog.queue import LEASE, SCHEMA, TASK, Queue
from ragstone.errors import CatalogError, CatalogUnavailable
from ragstone.models import Collection

POLL = 1.0
"""Seconds between looks at the queue, should a notification have been lost."""

TRIES = 3
"""Of finishing a job. After that the worker ends, so that its jobs are taken back."""

logger = logging.getLogger(__name__)
logging.getLogger("procrastinate").setLevel(logging.CRITICAL)  # what it reports as an error is a job handed on


class _Jobs(JobManager):
    """Loses no job: one that did not come to its end waits again, and PostgreSQL may be away for a moment.

    procrastinate itself would delete both kinds, and fail when another worker has taken a job back.
    """

    def __init__(self, connector: PsycopgConnector, queue: Queue) -> None:
        super().__init__(connector)
        self._queue = queue
        self.stop: Callable[[], object] = lambda: None  # ends the worker

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        assert job.id is not None
        finish = self._queue.finish if status is Status.SUCCEEDED else self._queue.give_back
        for _ in range(TRIES):
            try:
                await finish(job.id)
                return
            except CatalogError as error:
                logger.debug("a job was not finished: %s", error)
                await asyncio.sleep(POLL)
        self.stop()


@asynccontextmanager
async def taking(
    catalog: Catalog, collection: Collection, work: Callable[..., Awaitable[None]], concurrency: int, grace: float
) -> AsyncIterator[Taker]:
    """What takes jobs while its `run` goes on. Two connections take jobs, one listens.

    Told to stop, or cancelled, it gives running jobs `grace` seconds, then cancels them and hands them back. Raises
    CatalogUnavailable when PostgreSQL is gone.
    """
    connector = PsycopgConnector(conninfo=catalog.url, min_size=1, max_size=2, timeout=10.0, configure=_on_its_schema)
    app = App(connector=connector)
    app.job_manager = jobs = _Jobs(connector, catalog.queue)
    app.task(name=TASK)(work)
    try:
        async with app.open_async():
            taker = Taker(
                app,
                [str(collection.id)],
                concurrency=concurrency,
                delete_jobs=DeleteJobCondition.ALWAYS,
                install_signal_handlers=False,
                shutdown_graceful_timeout=grace,
                fetch_job_polling_interval=POLL,
                update_heartbeat_interval=LEASE / 5,
                stalled_worker_timeout=LEASE,
            )
            jobs.stop = taker.stop
            yield taker
    except (exceptions.ConnectorException, PoolTimeout) as error:
        raise CatalogUnavailable(f"the queue cannot be reached: {error.__cause__ or error}") from error


async def _on_its_schema(connection: AsyncConnection[Any]) -> None:
    await connection.execute(f"SET search_path = {SCHEMA}, pg_temp".encode())
    await connection.commit()
