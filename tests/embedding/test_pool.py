from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from contracts.embedder import EmbedderContract
from embedding.endpoint import ERROR, Endpoint, vectors
from ragstone.embedding.local import LocalEmbedder
from ragstone.embedding.pool import Pooled
from ragstone.errors import ProviderError, ProviderUnavailable, RefusedText


class TestPooled(EmbedderContract):
    refusal = RefusedText

    @pytest.fixture
    def embedder(self, local: LocalEmbedder) -> Pooled:
        return Pooled(local)


@pytest_asyncio.fixture
async def pool(endpoint: Endpoint) -> AsyncIterator[Pooled]:
    """Of an endpoint that takes one request of up to 16 texts at a time."""
    endpoint.answers = [(200, {}, vectors)]
    pool = Pooled(endpoint.embedder(batch_size=16), batch=16, parallel=1)
    yield pool
    await pool.aclose()


@pytest.fixture
def gate(endpoint: Endpoint) -> Iterator[threading.Event]:
    """While it is not set, the endpoint does not answer."""
    gate = threading.Event()

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        assert gate.wait(20)
        return vectors(request)

    endpoint.answers = [(200, {}, answer)]
    yield gate
    gate.set()


def sent(endpoint: Endpoint) -> list[list[str]]:
    return [request["input"] for request in endpoint.requests]


async def requested(endpoint: Endpoint, count: int) -> None:
    async with asyncio.timeout(20):
        while len(endpoint.requests) < count:  # noqa: ASYNC110  another thread fills it
            await asyncio.sleep(0.002)


async def test_callers_share_full_batches_sorted_by_length(endpoint: Endpoint, pool: Pooled) -> None:
    texts = [[f"{'x' * number} a", f"{'x' * (40 - number)} b"] for number in range(24)]
    rows = await asyncio.gather(*(pool.embed(own, "live") for own in texts))
    assert [len(batch) for batch in sent(endpoint)] == [16, 16, 16]
    assert all(batch == sorted(batch, key=len) for batch in sent(endpoint))
    for own, found in zip(texts, rows, strict=True):
        expected = np.array([[len(text), 1, 1] for text in own], np.float32)
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-5)


async def test_equal_texts_are_embedded_once(endpoint: Endpoint, pool: Pooled) -> None:
    rows = await asyncio.gather(*(pool.embed(["same", "same", f"own {n}"], "live") for n in range(10)))
    assert sorted(text for batch in sent(endpoint) for text in batch) == sorted(
        ["same", *(f"own {n}" for n in range(10))]
    )
    assert all((found[0] == found[1]).all() for found in rows)


async def test_a_text_under_way_is_shared_too(endpoint: Endpoint, pool: Pooled, gate: threading.Event) -> None:
    first = asyncio.create_task(pool.embed(["shared"], "live"))
    await requested(endpoint, 1)
    second = asyncio.create_task(pool.embed(["shared"], "backfill"))
    await asyncio.sleep(0.01)
    gate.set()
    np.testing.assert_array_equal(*await asyncio.gather(first, second))
    assert sent(endpoint) == [["shared"]]


async def test_live_goes_before_backfill_and_a_question_waits_for_neither(
    endpoint: Endpoint, pool: Pooled, gate: threading.Event
) -> None:
    busy = asyncio.create_task(pool.embed(["busy"], "backfill"))
    await requested(endpoint, 1)
    bulk = asyncio.create_task(pool.embed([f"bulk {number}" for number in range(20)], "backfill"))
    live = asyncio.create_task(pool.embed(["live", "bulk 19"], "live"))
    await asyncio.sleep(0.01)
    question = asyncio.create_task(pool.embed(["question?"], "query"))
    await requested(endpoint, 2)
    assert sent(endpoint)[1] == ["question?"]
    gate.set()
    await asyncio.gather(busy, bulk, live, question)
    assert {"live", "bulk 19"} < set(sent(endpoint)[2])
    assert [len(batch) for batch in sent(endpoint)] == [1, 1, 16, 5]


async def test_a_refused_text_fails_its_caller_alone(endpoint: Endpoint, pool: Pooled) -> None:
    endpoint.answers = [endpoint.refusing("poison")]
    callers = [pool.embed([f"text {number}", "poison" if number == 3 else "fine"], "live") for number in range(6)]
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(found[3], RefusedText)
    assert "told you" in str(found[3])
    assert all(isinstance(rows, np.ndarray) and len(rows) == 2 for place, rows in enumerate(found) if place != 3)


async def test_a_failing_provider_reaches_all_who_share_the_batch(endpoint: Endpoint, pool: Pooled) -> None:
    endpoint.answers = [(503, {"Retry-After": "900"}, ERROR)]
    failures = await asyncio.gather(*(pool.embed([f"text {n}"], "live") for n in range(3)), return_exceptions=True)
    assert [type(failure) for failure in failures] == [ProviderUnavailable] * 3
    assert [failure.retry_after for failure in failures if isinstance(failure, ProviderUnavailable)] == [900] * 3
    endpoint.answers = [(200, {}, vectors)]
    assert len(await pool.embed(["text 0"], "live")) == 1


async def test_who_is_cancelled_takes_along_what_is_not_sent(
    endpoint: Endpoint, pool: Pooled, gate: threading.Event
) -> None:
    busy = asyncio.create_task(pool.embed(["busy"], "live"))
    await requested(endpoint, 1)
    leaving = asyncio.create_task(pool.embed(["alone", "shared"], "live"))
    staying = asyncio.create_task(pool.embed(["shared"], "live"))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    gate.set()
    await asyncio.gather(busy, staying)
    assert sent(endpoint) == [["busy"], ["shared"]]


async def test_closing_ends_those_who_wait(endpoint: Endpoint, gate: threading.Event) -> None:
    pool = Pooled(endpoint.embedder(), batch=2, parallel=1)
    callers = [asyncio.create_task(pool.embed([f"text {n}"], "live")) for n in range(5)]
    await requested(endpoint, 1)
    await pool.aclose()
    ended = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(error, ProviderError) and "closed" in str(error) for error in ended)


async def test_the_local_model_gives_each_caller_its_own_vectors(local: LocalEmbedder) -> None:
    pool = Pooled(local, batch=8)
    texts = [[f"passage {n} about rivers", f"{'stones ' * n}and water"] for n in range(12)]
    rows = await asyncio.gather(*(pool.embed(own, "backfill") for own in texts))
    for own, found in zip(texts, rows, strict=True):
        np.testing.assert_array_equal(found, await local.embed(own, "live"))
