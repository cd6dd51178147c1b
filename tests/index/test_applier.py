"""The applier brings an index to where the change log is, whatever happened to either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.material import generation, vector, version
from contracts.index import Question, ask, one_document, scope_of, scores
from ragstone.catalog.catalog import Catalog
from ragstone.errors import CatalogUnavailable, IndexFailure
from ragstone.index import applier
from ragstone.index.applier import Applier, follow_alone
from ragstone.index.exact import ExactIndex
from ragstone.models import Replacement, Scope

ALL = Question((1,) * 8, ("fox",), 1000)
SCOPED = one_document("a")


class MemoryLog:
    """A change log in memory. `faults` are raised by the next calls; `calls` counts all of them."""

    def __init__(self, name: str = "a log") -> None:
        self.name = name
        self.entries: list[Replacement] = []
        self.faults: list[Exception] = []
        self.calls = 0
        self._moved = asyncio.Condition()

    async def identity(self) -> str:
        return self.name

    async def append(self, *entries: Replacement) -> None:
        async with self._moved:
            self.entries += entries
            self._moved.notify_all()

    async def head(self) -> int:
        self._count()
        return len(self.entries)

    async def replacements(self, after: int, limit: int) -> tuple[list[Replacement], int]:
        self._count()
        changed = self.entries[after : after + limit]
        newest = {entry.document_id: entry for entry in self.entries}
        return [newest[entry.document_id] for entry in changed], after + len(changed)

    async def changed(self, after: int, timeout: float) -> bool:
        self._count()
        try:
            async with asyncio.timeout(timeout), self._moved:
                return await self._moved.wait_for(lambda: len(self.entries) > after)
        except TimeoutError:
            return False

    def _count(self) -> None:
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)


class LyingLog(MemoryLog):
    """Announces changes that cannot be read."""

    async def changed(self, after: int, timeout: float) -> bool:
        self._count()
        return True


def state(document: int, *texts: str) -> Replacement:
    return replace(SCOPED, document_id=UUID(int=document + 1), points=one_document("a", *texts).points)


async def contents(index: ExactIndex) -> dict[UUID, tuple[float, float]]:
    return scores(await ask(index, scope_of(SCOPED), ALL))


@given(
    history=st.lists(st.tuples(st.integers(0, 4), st.lists(st.sampled_from(["fox", "owl"]), max_size=2)), max_size=20),
    batch=st.integers(1, 5),
    stops=st.sets(st.integers(0, 20)),
)
@settings(max_examples=40, deadline=None)
async def test_any_history_in_any_portions_gives_the_newest_states(
    history: Sequence[tuple[int, list[str]]], batch: int, stops: set[int]
) -> None:
    log, index = MemoryLog(), ExactIndex()
    for number, (document, texts) in enumerate(history):
        await log.append(state(document, *texts))
        if number in stops:
            await Applier(log, index, batch=batch).catch_up()
    assert await Applier(log, index, batch=batch).catch_up() == len(history) == await index.position()
    whole = ExactIndex()
    await whole.apply(list({entry.document_id: entry for entry in log.entries}.values()), len(history))
    assert await contents(index) == await contents(whole)


async def test_it_follows_until_cancelled() -> None:
    log, index = MemoryLog(), ExactIndex()
    running = asyncio.create_task(Applier(log, index).run())
    for number in range(5):
        await log.append(state(number, "fox"))
        assert await index.wait(number + 1, timeout=10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await index.count(scope_of(SCOPED)) == 5


@pytest.mark.parametrize("fault", [CatalogUnavailable("away"), ConnectionResetError("reset")])
async def test_it_goes_on_after_errors(fault: Exception) -> None:
    log, index = MemoryLog(), ExactIndex()
    log.faults = [fault, fault]
    await log.append(state(0, "fox"))
    running = asyncio.create_task(Applier(log, index).run())
    assert await index.wait(1, timeout=20)
    running.cancel()


@pytest.mark.parametrize("log", [MemoryLog(), LyingLog()])
async def test_it_never_spins(log: MemoryLog) -> None:
    if not isinstance(log, LyingLog):
        log.faults = [CatalogUnavailable("away")] * 1000
    running = asyncio.create_task(Applier(log, ExactIndex()).run())
    await asyncio.sleep(0.6)
    running.cancel()
    assert 0 < log.calls < 30


async def test_an_index_ahead_of_the_catalog_is_rebuilt() -> None:
    index, log = ExactIndex(), MemoryLog()
    await index.apply([state(9, "fox")], 7)
    await log.append(state(0, "fox", "owl"))
    assert await Applier(log, index).catch_up() == 1
    assert await index.count(scope_of(SCOPED)) == 2


async def test_an_index_of_another_catalog_is_rebuilt() -> None:
    index, first, second = ExactIndex(), MemoryLog("first"), MemoryLog("second")
    await first.append(state(0, "fox"), state(1, "fox"))
    await second.append(state(2, "owl"), state(3, "owl"), state(4, "owl"))
    assert await Applier(first, index).catch_up() == 2
    assert await Applier(second, index).catch_up() == 3
    assert await index.count(scope_of(SCOPED)) == 3
    assert await index.source() == "second"


async def test_another_catalog_in_the_place_of_a_silent_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.index.applier.RECHECK", 0.05)
    index, log = ExactIndex(), MemoryLog("first")
    await log.append(state(0, "fox"), state(1, "fox"))
    running = asyncio.create_task(Applier(log, index).run())
    assert await index.wait(2, timeout=10)
    log.name, log.entries = "second", [state(number, "owl") for number in (2, 3, 4)]
    assert await index.wait(3, timeout=10)
    running.cancel()
    assert await index.count(scope_of(SCOPED)) == 3


async def test_the_real_catalog_is_followed(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    index = ExactIndex()
    running = asyncio.create_task(Applier(catalog, index, batch=2).run())
    scope = Scope(tenant=made.tenant, generation=made.id, fingerprint=made.fingerprint.digest)
    await catalog.publish(made, [version(f"{n}", ["fox", f"owl {n}"]) for n in range(7)])
    await catalog.publish(made, [version("3", ["newt"], "2")])
    assert await index.wait(await catalog.delete(collection, ["5", "6"]), timeout=20)
    assert await index.count(scope) == 2 * 4 + 1
    (hit,) = await index.search(scope, vector=None, text="newts", limit=10)
    assert [chunk.text for chunk in (await catalog.chunks(made.id, made.tenant, [hit.chunk_id])).values()] == ["newt"]
    (nearest,) = await index.search(scope, vector=vector("Title\n\nowl 2"), text=None, limit=1)
    assert nearest.cosine == pytest.approx(1)
    running.cancel()


class SharedMemoryLog(MemoryLog):
    """Followed by several processes. `lose` ends what the present one believes to have alone."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = asyncio.Lock()
        self._terms = 0

    @asynccontextmanager
    async def only(self, work: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        async with self._lock:
            self._terms += 1
            yield partial(self._check, self._terms)

    def lose(self) -> None:
        self._terms += 1

    async def _check(self, term: int) -> None:
        if term != self._terms:
            raise CatalogUnavailable("the connection is lost")


class CountingIndex(ExactIndex):
    """Notes who writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: list[str] = []

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.writers.append(task.get_name())
        await super().apply(replacements, position)


async def test_one_of_many_followers_writes_and_the_next_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applier, "LONGEST_PAUSE", 0.05)
    log, index = SharedMemoryLog(), CountingIndex()
    names = ["first", "second"]
    following = {name: asyncio.create_task(follow_alone(log, index, "memory"), name=name) for name in names}
    await log.append(state(0, "fox"))
    assert await index.wait(1, timeout=10)
    await log.append(state(1, "fox"))
    assert await index.wait(2, timeout=10)
    (writer,) = set(index.writers)
    following[writer].cancel()
    await log.append(state(2, "fox"))
    assert await index.wait(3, timeout=10)
    assert index.writers[-1] != writer
    for task in following.values():
        task.cancel()
    await asyncio.gather(*following.values(), return_exceptions=True)


async def test_a_follower_that_may_not_be_alone_any_more_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applier, "LONGEST_PAUSE", 3600.0)
    log, index = SharedMemoryLog(), ExactIndex()
    following = asyncio.create_task(follow_alone(log, index, "memory"))
    await log.append(state(0, "fox"))
    assert await index.wait(1, timeout=10)
    log.lose()
    await log.append(state(1, "fox"))
    assert not await index.wait(2, timeout=0.3)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_a_shared_index_of_another_catalog_is_left_alone() -> None:
    log, index = MemoryLog("ours"), ExactIndex()
    await index.reset("theirs")
    await index.apply([state(0, "fox")], 1)
    await log.append(state(1, "owl"))
    with pytest.raises(IndexFailure, match="another catalog"):
        await Applier(log, index, takes_over=False).catch_up()
    assert await index.count(scope_of(SCOPED)) == 1
    await index.reset("")
    assert await Applier(log, index, takes_over=False).catch_up() == 1
    assert await index.source() == "ours"
