"""The process's own applier: finds the catalog, and finds it again when it was away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ragstone.errors import RagstoneError
from ragstone.index.applier import Applier, Follower
from ragstone.index.edge.launch import Launch

logger = logging.getLogger(__name__)

PAUSE = 2.0  # seconds between tries to reach the catalog


class Following:
    """The task that follows the catalog, if the process is to do that by itself."""

    def __init__(self, settings: Launch, index: Follower) -> None:
        self._settings = settings
        self._index = index
        self._task: asyncio.Task[None] | None = None
        self._ended: Callable[[asyncio.Task[None]], None] = lambda task: None
        self._pausing = asyncio.Lock()

    def start(self, ended: Callable[[asyncio.Task[None]], None]) -> None:
        self._ended = ended
        if self._settings.follow:
            work = follow(Path(self._settings.data_dir), self._settings.database_url, self._index)
            self._task = asyncio.create_task(work)
            self._task.add_done_callback(ended)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nothing is followed meanwhile; then it begins anew, with a look at what the index has become."""
        async with self._pausing:
            await self.stop()
            try:
                yield
            finally:
                self.start(self._ended)


async def follow(data_dir: Path, database_url: str | None, index: Follower) -> None:
    """Carry every change of the catalog into the index, until cancelled.

    Without a URL this process becomes a user of the data folder's embedded PostgreSQL.
    """
    while True:
        try:
            await _follow_once(data_dir, database_url, index)
        except (RagstoneError, OSError) as error:
            logger.warning("the catalog cannot be reached (%s); next try in %.0f s", error, PAUSE)
        except Exception:
            logger.exception("following the catalog failed; next try in %.0f s", PAUSE)
        await asyncio.sleep(PAUSE)


async def _follow_once(data_dir: Path, database_url: str | None, index: Follower) -> None:
    from ragstone.catalog import embedded

    if database_url is not None:
        await _apply(database_url, index)
        return
    server = await asyncio.to_thread(embedded.start, data_dir)
    try:
        await _apply(server.url, index)
    finally:
        await asyncio.to_thread(server.stop)


async def _apply(database_url: str, index: Follower) -> None:
    from ragstone.catalog.catalog import Catalog

    catalog = await Catalog.open(database_url)
    try:
        await Applier(catalog, index).run()
    finally:
        await catalog.aclose()
