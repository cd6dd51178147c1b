"""A worker takes jobs from the queue and runs each document through the pipeline, several at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import TypeAlias

from ragstone.catalog.queue import LEASE, Job, Lane
from ragstone.errors import CatalogError, CatalogUnavailable, DocumentError, ProviderError, RagstoneError
from ragstone.indexing.pipeline import Outcome, Pipeline
from ragstone.indexing.retry import judge, wait
from ragstone.indexing.tasks import end
from ragstone.models import Failure
from ragstone.sources.base import Source

GRACE = LEASE / 2
"""Seconds that documents under way are given when the worker is told to stop; then their jobs are handed back.

There are no signs of life meanwhile: before the lease ends, the jobs must be done or back in the queue.
"""

AGAIN = 1.0
"""Seconds until the next try after PostgreSQL went away."""

STOPPED = 60.0
"""Seconds until the next try after a failure that only an operator can mend."""

LOOK = 0.1
"""Seconds between looks whether there is anything left to do."""

logger = logging.getLogger(__name__)

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
        self._halt: Callable[[], object] = lambda: None
        self._foreground = False

    async def run(self) -> None:
        """Work until cancelled. Documents under way are finished, or handed back after GRACE seconds."""
        taking_back = asyncio.create_task(self._keep_taking_back())
        try:
            while True:
                pause = await self._until_stopped()
                await asyncio.sleep(pause)
        finally:
            await end(taking_back)

    async def _until_stopped(self) -> float:
        """Work until something stops it; gives the seconds to wait then."""
        from ragstone.indexing.taking import taking

        try:
            self._fatal = None
            async with taking(self._catalog, self._collection, self.work, self._concurrency, GRACE) as taker:
                self._halt = taker.stop
                await taker.run()  # type: ignore[no-untyped-call]
        except CatalogUnavailable as error:
            logger.warning("%s; trying again", error)
        if self._fatal is None:
            return AGAIN
        logger.error("%s; %s; trying again in %.0f s", self._fatal, self._fatal.hint, STOPPED)
        return STOPPED

    async def drain(self) -> None:
        """Work until no job is running or due, anywhere.

        Raises the first error that would meet every other document too; the jobs stay in the queue.
        """
        if not await self._catalog.queue.busy(self._collection):
            return
        from ragstone.indexing.taking import taking

        self._foreground = True
        async with taking(self._catalog, self._collection, self.work, self._concurrency, 0.0) as taker:
            self._halt = taker.stop
            idle = asyncio.create_task(self._until_idle(taker.stop))
            try:
                await taker.run()  # type: ignore[no-untyped-call]
            finally:
                await end(idle)
        if self._fatal is not None:
            raise self._fatal
        if idle.cancelled():
            raise CatalogUnavailable("the queue cannot be reached any more")
        idle.result()

    async def _until_idle(self, stop: Callable[[], object]) -> None:
        try:
            while await self._catalog.queue.busy(self._collection):
                await self._catalog.queue.take_back(self._collection)
                await asyncio.sleep(LOOK)
        finally:
            stop()

    # --- one job ------------------------------------------------------------------------------------------------

    async def work(self, source: str, uri: str, lane: Lane, attempt: int, error: str) -> None:
        """One job, as its arguments in the queue have it. When it raises, the job goes back as it is."""
        job = Job(source=source, uri=uri, lane=lane, attempt=attempt, error=error)
        outcome = Outcome(fate="unchanged")
        try:
            await self._pipeline.index(self._sources(source), uri, lane, outcome)
        except RagstoneError as failed:
            await self._failed(job, outcome, failed)
        except Exception as failed:
            logger.exception("%s", uri)
            await self._failed(job, outcome, DocumentError(f"{type(failed).__name__}: {failed}"))
        else:
            self._notice(job, outcome)

    async def _failed(self, job: Job, outcome: Outcome, error: RagstoneError) -> None:
        judgement = judge(error)
        if judgement == "stop" or (self._foreground and isinstance(error, ProviderError | CatalogUnavailable)):
            self._fatal = self._fatal or error
            try:
                await self._hand_back(job, 0.0, str(error))
            finally:
                self._halt()
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

    async def _keep_taking_back(self) -> None:
        while True:
            try:
                if lost := await self._catalog.queue.take_back(self._collection):
                    logger.warning("%d jobs of a worker that died are run again", lost)
            except CatalogError as error:
                logger.warning("%s; trying again", error)
            await asyncio.sleep(LEASE / 2)
