from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.embedding.base import Lane
from ragstone.embedding.limiter import WINDOW, Limiter


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@settings(deadline=None)
@given(
    requests=st.integers(0, 6),
    tokens=st.integers(0, 60),
    wanted=st.lists(st.tuples(st.integers(1, 80), st.sampled_from(["query", "live", "backfill"])), max_size=30),
    pauses=st.lists(st.floats(0, 50), min_size=30, max_size=30),
)
async def test_no_window_of_a_minute_has_more_than_the_limits(
    requests: int, tokens: int, wanted: list[tuple[int, Lane]], pauses: list[float]
) -> None:
    clock, passed = Clock(), list[tuple[float, int]]()
    limiter = Limiter(requests, tokens, clock=clock, sleep=clock.sleep)
    for (size, lane), pause in zip(wanted, pauses, strict=False):
        await clock.sleep(pause)
        await limiter.take(size, lane)
        passed.append((clock.now, size))
    for start, _ in passed:
        sizes = [size for moment, size in passed if start <= moment < start + WINDOW]
        assert not requests or len(sizes) <= max(requests, 1)
        assert not tokens or sum(sizes) <= tokens or len(sizes) == 1


async def test_without_limits_nobody_waits() -> None:
    clock = Clock()
    limiter = Limiter(0, 0, clock=clock, sleep=clock.sleep)
    for _ in range(1000):
        await limiter.take(100_000, "backfill")
    assert clock.now == 0


async def test_a_question_has_room_while_documents_wait() -> None:
    clock, woken = Clock(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        await woken.wait()
        clock.now += seconds

    limiter = Limiter(10, 0, clock=clock, sleep=sleep)
    for _ in range(9):
        await limiter.take(1, "backfill")
    document = asyncio.create_task(limiter.take(1, "live"))
    await asyncio.sleep(0)
    await limiter.take(1, "query")
    assert not document.done()
    woken.set()
    await document
    assert clock.now == pytest.approx(WINDOW)
