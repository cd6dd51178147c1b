"""The applier follows the catalog's change log and keeps one index up to date."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Protocol

from ragstone.errors import RagstoneError
from ragstone.models import Replacement

logger = logging.getLogger(__name__)

RECHECK = 30.0  # seconds of silence after which the log is asked anew whether it is still the same one
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0


class ChangeLog(Protocol):
    """The catalog, as an index sees it."""

    async def identity(self) -> str:
        """Tells this log apart from another one that stood at the same address."""
        ...

    async def head(self) -> int: ...

    async def replacements(self, after: int, limit: int) -> tuple[list[Replacement], int]:
        """At most `limit` documents that changed after a position, each in its newest state, and the position
        that is reached once they are applied (`after` itself when nothing changed)."""
        ...

    async def changed(self, after: int, timeout: float) -> bool:
        """Until the head is past `after`; False when it is not within `timeout` seconds."""
        ...


class Follower(Protocol):
    """An index that remembers which catalog its position belongs to."""

    async def source(self) -> str:
        """The identity of the catalog that it follows; empty before the first."""
        ...

    async def reset(self, source: str) -> None:
        """Forget everything and go to position 0 of another catalog."""
        ...

    async def position(self) -> int: ...

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None: ...


class Applier:
    """Carries changes from one log to one index, `batch` documents at a time."""

    def __init__(self, log: ChangeLog, index: Follower, *, batch: int = 128) -> None:
        self._log = log
        self._index = index
        self._batch = batch

    async def catch_up(self) -> int:
        """Apply all that the log holds by now; returns the position reached.

        An index that followed another catalog, or that is ahead of this one (it was restored or made anew), is
        rebuilt from the beginning.
        """
        source = await self._log.identity()
        position = await self._index.position()
        if source != await self._index.source() or position > await self._log.head():
            if position:
                logger.warning("the index is not of this catalog's history: it is rebuilt")
            await self._index.reset(source)
            position = 0
        while True:
            replacements, reached = await self._log.replacements(position, self._batch)
            if reached <= position:
                return position
            await self._index.apply(replacements, reached)
            position = reached

    async def run(self) -> None:
        """Follow the log until cancelled. An error is logged, and the work taken up again after a pause."""
        pause = FIRST_PAUSE
        position = -1
        while True:
            before = position
            try:
                position = await self.catch_up()
                announced = await self._log.changed(position, RECHECK)
            except (RagstoneError, OSError) as error:
                logger.warning("the index cannot follow the catalog (%s); next try in %.1f s", error, pause)
            else:
                if position != before or not announced:
                    pause = FIRST_PAUSE
                    continue
                logger.warning("changes are announced after %d but none can be read", position)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (spreads load, guards nothing)
            pause = min(pause * 2, LONGEST_PAUSE)
