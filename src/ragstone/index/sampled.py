"""The recall monitor: a few searches in service are done again exactly, in the background, and compared."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

from ragstone.index.base import Health, Index
from ragstone.index.filters import Filter
from ragstone.index.recall import nearest
from ragstone.models import Entry, Hit, Replacement, Scope

K = 10
"""Recall@10 is kept: of how many of the ten nearest a search for `limit` finds."""

LAST = 200  # checks that the mean is of
ENOUGH = 50  # checks below which it alarms nobody

REST = 99
"""After a check none is begun for so many times as long as it took: however slow exact search is on the engine, checks
take a hundredth of its time at most."""

logger = logging.getLogger(__name__)


class Recall:
    """Recall over the last checks, with a warning when it falls below `alert`: once, until it has recovered."""

    def __init__(self, alert: float) -> None:
        self._alert = alert
        self._last: deque[float] = deque(maxlen=LAST)
        self._low = False
        self.checks = 0  # ever

    @property
    def mean(self) -> float | None:
        """None before the first check."""
        return fmean(self._last) if self._last else None

    def add(self, recall: float) -> None:
        self._last.append(recall)
        self.checks += 1
        if len(self._last) < ENOUGH:
            return
        mean = fmean(self._last)
        if mean < self._alert and not self._low:
            logger.warning(
                "recall@%d of the last %d checked searches is %.3f, below %.3f: `ragstone tune` finds a better ef, "
                "`ragstone fsck` what the index lacks",
                K,
                len(self._last),
                mean,
                self._alert,
            )
        self._low = mean < self._alert


class Sampled:
    """An Index of whose vector searches a share is checked: `Sampled(index, share=0.01, alert=0.9)`.

    All else passes through. A check takes two searches by vector alone, one as it was asked and one exact, once the
    caller has its answer; none is begun while another is under way, or has just been. What goes wrong in one is logged.
    For a process that stays, such as `ragstone serve`: `aclose` ends a check that is under way.
    """

    def __init__(
        self,
        index: Index,
        *,
        share: float,
        alert: float,
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._share = share
        self._random = random  # in [0, 1)
        self._clock = clock
        self._resting = clock()  # until then
        self._checking: asyncio.Task[None] | None = None
        self.recall = Recall(alert)

    async def search(
        self,
        scope: Scope,
        *,
        vector: npt.NDArray[np.float32] | None,
        text: str | None,
        limit: int,
        where: Filter | None = None,
        ef: int | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        hits = await self._index.search(scope, vector=vector, text=text, limit=limit, where=where, ef=ef, exact=exact)
        if vector is not None and not exact and limit > 0 and self._due():
            self._checking = asyncio.create_task(self._check(scope, vector, limit, where, ef))
        return hits

    def _due(self) -> bool:
        idle = self._checking is None or self._checking.done()
        return idle and self._clock() >= self._resting and self._random() < self._share

    async def _check(
        self, scope: Scope, vector: npt.NDArray[np.float32], limit: int, where: Filter | None, ef: int | None
    ) -> None:
        start = self._clock()
        try:
            # Not the caller's own hits: those that BM25 found would hide what the vector search missed, and what was
            # published since would seem missed.
            hits = await self._index.search(scope, vector=vector, text=None, limit=limit, where=where, ef=ef)
            truth = await nearest(self._index, scope, vector, min(limit, K), where)
        except Exception:  # nobody waits for it, so that whatever went wrong would be lost
            logger.warning("the recall of a search could not be checked", exc_info=True)
            return
        finally:
            end = self._clock()
            self._resting = end + REST * (end - start)
        if truth.wanted:
            self.recall.add(truth.recall(hits))

    # --- passed through -----------------------------------------------------------------------------------------

    async def source(self) -> str:
        return await self._index.source()

    async def position(self) -> int:
        return await self._index.position()

    async def reset(self, source: str) -> None:
        await self._index.reset(source)

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        await self._index.apply(replacements, position)

    async def count(self, scope: Scope, where: Filter | None = None) -> int:
        return await self._index.count(scope, where)

    def scan(self, scope: Scope) -> AsyncIterator[Sequence[Entry]]:
        return self._index.scan(scope)

    async def scopes(self) -> list[Scope]:
        return await self._index.scopes()

    async def drop(self, scope: Scope) -> None:
        await self._index.drop(scope)

    async def health(self) -> Health:
        return await self._index.health()

    async def wait(self, position: int, timeout: float) -> bool:
        return await self._index.wait(position, timeout)

    async def aclose(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait([self._checking])
        await self._index.aclose()
