"""The applier follows the catalog's change log and keeps one index up to date."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ragstone.errors import IndexFailure, RagstoneError
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


class SharedLog(ChangeLog, Protocol):
    """A log that processes follow side by side."""

    def only(self, work: str) -> AbstractAsyncContextManager[Callable[[], Awaitable[None]]]:
        """Nobody else does this work meanwhile. What it gives raises once that is no longer certain."""
        ...


class Follower(Protocol):
    """An index that remembers which catalog its position belongs to: what Index says of these four."""

    async def source(self) -> str: ...

    async def reset(self, source: str) -> None: ...

    async def position(self) -> int: ...

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None: ...


async def follow_alone(log: SharedLog, index: Follower, address: str) -> None:
    """Keep an index that many processes share up to date, as the only one that writes to it, until cancelled.

    Whoever comes second waits until the first has gone.
    """
    while True:
        try:
            async with log.only(f"follows into {address}") as still_alone:
                await Applier(log, index, takes_over=False, still_alone=still_alone).run()
        except (RagstoneError, OSError) as error:
            logger.warning("the catalog cannot be followed (%s); next try in %.0f s", error, LONGEST_PAUSE)
        await asyncio.sleep(LONGEST_PAUSE)


async def _nobody_else() -> None:
    """For an index that one process owns."""


class Applier:
    """Carries changes from one log to one index, `batch` documents at a time.

    `takes_over`: an index that followed another catalog is emptied and filled from this one; else it is left alone, for
    somebody may still use it. `still_alone` raises when another process may have begun to write to the index.
    """

    def __init__(
        self,
        log: ChangeLog,
        index: Follower,
        *,
        batch: int = 128,
        takes_over: bool = True,
        still_alone: Callable[[], Awaitable[None]] = _nobody_else,
    ) -> None:
        self._log = log
        self._index = index
        self._batch = batch
        self._takes_over = takes_over
        self._still_alone = still_alone

    async def catch_up(self) -> int:
        """Apply all that the log holds by now; returns the position reached.

        An index that followed another catalog, or that is ahead of this one (it was restored or made anew), is
        rebuilt from the beginning. Raises IndexFailure when it follows another one and is not taken over.
        """
        source = await self._log.identity()
        position = await self._index.position()
        followed = await self._index.source()
        if source != followed or position > await self._log.head():
            if followed not in ("", source) and not self._takes_over:
                raise IndexFailure(
                    "the index belongs to another catalog, and is left alone",
                    hint="give this catalog an index server of its own; or `ragstone index rebuild --from-scratch` "
                    "empties this one and takes it over",
                )
            if position:
                logger.warning("the index is not of this catalog's history: it is rebuilt")
            await self._index.reset(source)
            position = 0
        while True:
            replacements, reached = await self._log.replacements(position, self._batch)
            if reached <= position:
                return position
            await self._still_alone()
            await self._index.apply(replacements, reached)
            position = reached

    async def run(self) -> None:
        """Follow the log until cancelled. An error is logged, and the work taken up again after a pause.

        Raises what `still_alone` raises.
        """
        pause = FIRST_PAUSE
        position = -1
        while True:
            await self._still_alone()
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
