"""A limit of requests and of tokens a minute, kept over every window of 60 seconds."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf

from ragstone.embedding.base import Lane

WINDOW = 60.0  # seconds
BULK_SHARE = 0.9
"""Documents leave the rest to questions, which therefore seldom wait for a minute to pass."""


class Limiter:
    """Lets requests pass when the last minute has room for them. 0 is no limit.

    A request of more tokens than a minute may have passes alone. Waiting document requests keep their order, and no
    question waits behind them.
    """

    def __init__(
        self,
        requests: int,
        tokens: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._requests = requests or inf
        self._tokens = tokens or inf
        self._clock = clock
        self._sleep = sleep
        self._passed: deque[tuple[float, int]] = deque()  # time and tokens of each request of the last minute
        self._queries = asyncio.Lock()
        self._documents = asyncio.Lock()

    async def take(self, tokens: int, lane: Lane) -> None:
        """Wait until a request of so many tokens may be sent; it then counts as sent."""
        share = 1.0 if lane == "query" else BULK_SHARE
        async with self._queries if lane == "query" else self._documents:
            while wait := self._wait(tokens, share):
                await self._sleep(wait)
            self._passed.append((self._clock(), tokens))

    def _wait(self, tokens: int, share: float) -> float:
        """Seconds until the oldest request leaves the window; 0 when there is room now."""
        now = self._clock()
        while self._passed and self._passed[0][0] + WINDOW <= now:
            self._passed.popleft()
        spent = sum(passed for _, passed in self._passed)
        room = len(self._passed) + 1 <= self._requests * share and spent + tokens <= self._tokens * share
        return 0.0 if room or not self._passed else self._passed[0][0] + WINDOW - now
