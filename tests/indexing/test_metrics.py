"""What a worker tells to Prometheus."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from indexing.bench import Bench, Condition, bench, until
from ragstone.catalog.catalog import Catalog
from ragstone.embedding.base import Usage
from ragstone.errors import BrokenDocument, IndexUnavailable
from ragstone.indexing import metrics as measuring
from ragstone.indexing.metrics import Metrics


@pytest.fixture
async def stand(catalog: Catalog) -> Bench:
    return await bench(catalog)


async def test_what_a_worker_did_is_counted(stand: Bench) -> None:
    async def breaks(name: str) -> None:
        if name == "bad":
            raise BrokenDocument("no")

    stand.shelf.texts, stand.shelf.doing = {"a": "one", "b": "one", "bad": "two"}, breaks
    await stand.scan()
    await stand.worker(concurrency=1).drain()
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for job, result in stand.done:
        metrics(job, result)
    assert registry.get_sample_value("ragstone_documents_total", {"fate": "published"}) == 2
    assert registry.get_sample_value("ragstone_failures_total", {"code": "broken"}) == 1
    assert registry.get_sample_value("ragstone_chunks_total") == 2
    assert registry.get_sample_value("ragstone_embedded_total") == 1  # the other has the same text
    for work in ("fetch", "parse", "chunk", "embed", "publish"):
        assert (registry.get_sample_value("ragstone_work_seconds_total", {"work": work}) or 0) > 0


async def test_the_queue_and_the_collection_are_looked_at_again_and_again_also_after_an_outage(
    stand: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "EVERY", 0.05)
    registry = CollectorRegistry()
    lags = [7]
    used = [Usage(tokens=5, requests=1, money=0.5)]

    async def lag() -> int:
        if not lags:
            raise IndexUnavailable("away")
        return lags[0]

    def shows(name: str, value: float, **labels: str) -> Condition:
        async def shown() -> bool:
            return registry.get_sample_value(name, labels) == value

        return shown

    task = asyncio.create_task(Metrics(registry).keep_measuring(stand.catalog, stand.collection, lag, lambda: used[0]))
    try:
        await stand.add("a", "b")
        await stand.add("c", delay=600)
        await until(shows("ragstone_jobs", 2, state="waiting"))
        await until(shows("ragstone_jobs", 1, state="later"))
        await until(shows("ragstone_index_lag", 7))
        await until(shows("ragstone_embedding_tokens_total", 5))
        used[0] = Usage(tokens=8, requests=3, money=0.75)
        await until(shows("ragstone_embedding_money_total", 0.75))
        await until(shows("ragstone_embedding_requests_total", 3))
        await stand.worker().drain()
        await until(shows("ragstone_jobs", 0, state="waiting"))
        lags.clear()
        async with await psycopg.AsyncConnection.connect(stand.catalog.url, autocommit=True) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        lags.append(3)
        await until(shows("ragstone_index_lag", 3))
        await stand.catalog.record_check(stand.generation, "its model deviates")
        await until(shows("ragstone_quarantined", 1))
    finally:
        task.cancel()
        await asyncio.wait([task])
