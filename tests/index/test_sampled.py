"""The monitor lets everything through, checks some searches in the background, and warns when recall falls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from contracts.index import IndexContract
from index.forgetful import SCOPE, Forgetful, documents, forgetful, vectors
from ragstone.errors import IndexUnavailable
from ragstone.index.base import Index
from ragstone.index.exact import ExactIndex
from ragstone.index.filters import Range
from ragstone.index.sampled import ENOUGH, LAST, Sampled
from ragstone.models import Hit, Scope

ALERT = 0.85
QUERY = vectors(1, seed=5)[0]


class TestSampled(IndexContract):
    """It is an index like the one in it, while every search is checked."""

    engine = "exact"

    @pytest.fixture
    def index(self) -> Index:
        return Sampled(ExactIndex(), share=1.0, alert=ALERT)


def watched(
    index: Index, share: float = 1.0, chance: Callable[[], float] = lambda: 0.5, clock: Callable[[], float] = lambda: 0
) -> Sampled:
    """Where time stands still, checks take none, and are followed by no rest."""
    return Sampled(index, share=share, alert=ALERT, random=chance, clock=clock)


async def check(sampled: Sampled, times: int = 1, limit: int = 20, **asked: Any) -> None:
    """Searches, each with its check to the end."""
    for _ in range(times):
        before = sampled.recall.checks
        await sampled.search(SCOPE, vector=QUERY, limit=limit, **{"text": None, **asked})
        async with asyncio.timeout(60):
            while sampled.recall.checks == before:  # noqa: ASYNC110
                await asyncio.sleep(0)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# --- the figure -----------------------------------------------------------------------------------------------------


async def test_recall_is_that_of_the_engine_over_the_last_checks() -> None:
    index = await forgetful(documents(100), lambda ef, where: 4)
    sampled = watched(index)
    await check(sampled)
    assert sampled.recall.checks == 1
    assert sampled.recall.mean == pytest.approx(0.6)
    index.misses = lambda ef, where: 0
    await check(sampled)
    assert sampled.recall.mean == pytest.approx(0.8)
    await check(sampled, LAST - 1)
    assert (sampled.recall.mean, sampled.recall.checks) == (1.0, LAST + 1)


def test_nothing_is_known_before_the_first_check() -> None:
    assert watched(ExactIndex()).recall.mean is None


async def test_what_bm25_finds_does_not_hide_what_the_graph_misses() -> None:
    index = await forgetful(documents(100), lambda ef, where: 4)
    assert len(await index.search(SCOPE, vector=QUERY, text="fox", limit=100)) == 100
    sampled = watched(index)
    await check(sampled, text="fox", limit=100)
    assert sampled.recall.mean == pytest.approx(0.6)


async def test_it_is_checked_as_it_was_asked() -> None:
    index = await forgetful(documents(100), lambda ef, where: 4 if ef == 16 and where == narrow else 0)
    narrow = Range("sample", lt=0.5)
    sampled = watched(index)
    await check(sampled, where=narrow, ef=16, limit=5)
    assert sampled.recall.mean == pytest.approx(0.2)
    assert {(ef, where) for ef, where, exact in index.asked if not exact} == {(16, narrow)}
    assert {where for _, where, exact in index.asked if exact} == {narrow}


async def test_the_share_is_drawn_and_only_searches_by_vector_are() -> None:
    index = await forgetful(documents(100), lambda ef, where: 0)
    chances = iter([0.02, 0.009, 0.5])
    sampled = watched(index, 0.01, lambda: next(chances))
    await sampled.search(SCOPE, vector=QUERY, text=None, limit=5)
    await check(sampled)
    await sampled.search(SCOPE, vector=None, text="fox", limit=5)  # these draw nothing
    await sampled.search(SCOPE, vector=QUERY, text=None, limit=5, exact=True)
    await sampled.search(SCOPE, vector=QUERY, text=None, limit=0)
    await sampled.search(SCOPE, vector=QUERY, text=None, limit=5)
    await sampled.aclose()
    assert sampled.recall.checks == 1
    assert not list(chances)


async def test_where_there_is_nothing_to_find_nothing_is_learnt() -> None:
    index = await forgetful(documents(100), lambda ef, where: 0)
    sampled = watched(index)
    await sampled.search(SCOPE, vector=QUERY, text=None, limit=5, where=Range("sample", gte=2))
    while not sampled.recall.checks:
        await sampled.search(SCOPE, vector=QUERY, text=None, limit=5)
        await asyncio.sleep(0)
    assert [where for _, where, exact in index.asked if exact] == [Range("sample", gte=2), None]
    assert sampled.recall.checks == 1


# --- the warning ----------------------------------------------------------------------------------------------------


async def test_it_warns_once_when_recall_falls_and_again_after_it_recovered(caplog: pytest.LogCaptureFixture) -> None:
    index = await forgetful(documents(30), lambda ef, where: 2)
    sampled = watched(index)
    await check(sampled, ENOUGH - 1)
    assert warnings(caplog) == []
    await check(sampled, 20)
    [told] = warnings(caplog)
    assert "recall@10 of the last 50 checked searches is 0.800, below 0.850" in told
    assert "ragstone tune" in told
    assert "ragstone fsck" in told
    index.misses = lambda ef, where: 0
    await check(sampled, LAST)
    index.misses = lambda ef, where: 10
    await check(sampled, LAST)
    assert len(warnings(caplog)) == 2


# --- never in the way -----------------------------------------------------------------------------------------------


class Held(Forgetful):
    """Its exact searches wait until they are let go, or fail."""

    def __init__(self) -> None:
        super().__init__(lambda ef, where: 0)
        self.let_go = asyncio.Event()
        self.fails: Exception | None = None
        self.closed = False

    async def search(
        self,
        scope: Scope,
        *,
        vector: npt.NDArray[np.float32] | None,
        exact: bool = False,
        **others: Any,
    ) -> list[Hit]:
        hits = await super().search(scope, vector=vector, exact=exact, **others)
        if exact:
            await self.let_go.wait()
            if self.fails:
                raise self.fails
        return hits

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
async def held() -> Held:
    index = Held()
    await index.apply(documents(100), 1)
    return index


async def test_a_search_waits_for_no_check_and_one_is_made_at_a_time(held: Held) -> None:
    sampled = watched(held)
    for _ in range(5):
        assert len(await sampled.search(SCOPE, vector=QUERY, text=None, limit=7)) == 7
        await asyncio.sleep(0.01)
    assert [exact for *_, exact in held.asked].count(True) == 1
    assert sampled.recall.checks == 0
    held.let_go.set()
    while not sampled.recall.checks:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await check(sampled, 2)
    assert [exact for *_, exact in held.asked].count(True) == sampled.recall.checks == 3


async def test_checks_take_a_hundredth_of_the_time(held: Held) -> None:
    now = [1000.0]
    sampled = watched(held, clock=lambda: now[0])
    await sampled.search(SCOPE, vector=QUERY, text=None, limit=7)
    while not [exact for *_, exact in held.asked].count(True):  # noqa: ASYNC110
        await asyncio.sleep(0)
    now[0] += 0.25
    held.let_go.set()
    while not sampled.recall.checks:  # noqa: ASYNC110
        await asyncio.sleep(0)
    now[0] += 24.7
    await sampled.search(SCOPE, vector=QUERY, text=None, limit=7)
    await asyncio.sleep(0.01)
    assert [exact for *_, exact in held.asked].count(True) == 1
    now[0] += 0.1
    await check(sampled)
    assert sampled.recall.checks == 2


async def test_a_check_that_fails_is_logged_and_the_next_one_counts(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    sampled = watched(held)
    held.let_go.set()
    for error in (IndexUnavailable("away"), ValueError("a fault")):
        held.fails = error
        assert len(await sampled.search(SCOPE, vector=QUERY, text=None, limit=7)) == 7
        async with asyncio.timeout(60):
            while not caplog.records:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert warnings(caplog) == ["the recall of a search could not be checked"]
        assert str(error) in caplog.text
        caplog.clear()
    held.fails = None
    await check(sampled)
    assert sampled.recall.mean == 1


async def test_closing_ends_a_check_and_closes_the_index(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    sampled = watched(held)
    await sampled.search(SCOPE, vector=QUERY, text=None, limit=7)
    await sampled.aclose()
    assert held.closed
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert (sampled.recall.checks, warnings(caplog)) == (0, [])
