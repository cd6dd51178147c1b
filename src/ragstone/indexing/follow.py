"""Keeping up with a source: a whole pass now and then, and between them what the source tells of by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ragstone.catalog.queue import Job
from ragstone.errors import CatalogUnavailable, RagstoneError, SourceError
from ragstone.indexing.report import Report
from ragstone.indexing.sync import Sync
from ragstone.indexing.tasks import end
from ragstone.sources.base import Source, Watched

AGAIN = 5.0
"""Seconds until the next try when a source cannot be watched or listed, or the catalog not be reached."""

LONGEST = 300.0
"""The most seconds until a source is listed again; each pause takes twice as long as the one before."""

logger = logging.getLogger(__name__)


class Follower:
    """Follows one source. Of all processes that follow it one does the work; another takes over when that one ends."""

    def __init__(self, sync: Sync, source: Source, every: float) -> None:
        """`every`: seconds between whole passes."""
        self._sync = sync
        self._source = source
        self._every = every

    async def run(self) -> None:
        """Follow until cancelled. What goes wrong is logged and tried again."""
        work = f"follow {self._source.name}"
        while True:
            try:
                async with self._sync.catalog.alone(self._sync.collection, work) as still_alone:
                    await self._follow(still_alone)
            except RagstoneError as error:
                logger.warning("source %s: %s", self._source.name, error)
            await asyncio.sleep(AGAIN)

    async def _follow(self, still_alone: Callable[[], Awaitable[None]]) -> None:
        """Begins to watch before the first pass, so that nothing happens unseen between the two.

        Raises CatalogUnavailable when another process may follow by now.
        """
        hints: asyncio.Queue[frozenset[str]] = asyncio.Queue()
        watching = asyncio.create_task(self._watch(hints))
        await asyncio.sleep(0)
        try:
            pause = AGAIN
            while True:
                await still_alone()
                if await self._pass():
                    pause = AGAIN
                    await self._until_next(hints, self._every)
                else:
                    await self._until_next(hints, min(pause, self._every))
                    pause = min(2 * pause, LONGEST)
        finally:
            await end(watching)

    async def _watch(self, hints: asyncio.Queue[frozenset[str]]) -> None:
        """Pass on what the source tells. One that can be watched no longer is still listed every now and then."""
        if not isinstance(self._source, Watched):
            return
        while True:
            try:
                async for uris in self._source.changes():
                    hints.put_nowait(uris)
                return
            except SourceError as error:
                logger.warning("source %s cannot be watched: %s", self._source.name, error)
                await asyncio.sleep(AGAIN)
                hints.put_nowait(frozenset())

    async def _until_next(self, hints: asyncio.Queue[frozenset[str]], seconds: float) -> None:
        """Enqueue what is told of, until the next whole pass is due, or asked for by an empty set."""
        try:
            async with asyncio.timeout(seconds):
                while uris := await hints.get():
                    jobs = [Job(source=self._source.name, uri=uri) for uri in sorted(uris)]
                    await self._sync.catalog.queue.add(self._sync.collection, jobs)
        except TimeoutError:
            return

    async def _pass(self) -> bool:
        """Whether the source could be listed."""
        report = Report()
        try:
            enqueued = await self._sync.scan(self._source, report)
        except CatalogUnavailable:
            raise
        except RagstoneError as error:
            logger.warning("source %s: %s", self._source.name, error)
            return False
        logger.info(
            "source %s: %d listed, %d enqueued, %d deleted",
            self._source.name, report.listed, len(enqueued), report.deleted,
        )  # fmt: skip
        return True
