"""The queue: one waiting job a document, the order of jobs, and what becomes of those of a dead worker."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragstone.catalog.catalog import Catalog
from ragstone.catalog.queue import LEASE, Job, QueuedJob
from ragstone.models import Collection


@pytest.fixture
async def collection(catalog: Catalog) -> Collection:
    return await catalog.ensure_collection("acme", "handbook")


async def listed(catalog: Catalog, collection: Collection) -> list[QueuedJob]:
    return await catalog.queue.jobs(collection)


async def take(catalog: Catalog, *, silent: float = 0.0) -> int:
    """Take the next job as procrastinate does, by a worker that was silent for some seconds; gives the worker."""
    async with await psycopg.AsyncConnection.connect(catalog.url, autocommit=True) as connection:
        await connection.execute("SET search_path = ragstone_queue")
        cursor = await connection.execute("SELECT worker_id FROM procrastinate_register_worker_v1()")
        row = await cursor.fetchone()
        assert row is not None
        await connection.execute("SELECT procrastinate_fetch_job_v2(NULL, %s)", row)
        await connection.execute(
            "UPDATE procrastinate_workers SET last_heartbeat = now() - make_interval(secs => %s) WHERE id = %s",
            (silent, row[0]),
        )
        return int(row[0])


async def test_a_document_has_one_waiting_job(catalog: Catalog, collection: Collection) -> None:
    for _ in range(2):
        await catalog.queue.add(
            collection, [Job(source="s", uri="a"), Job(source="s", uri="a"), Job(source="s", uri="b")]
        )
    assert [job.uri for job in await listed(catalog, collection)] == ["a", "b"]
    state = await catalog.queue.state(collection)
    assert (state.waiting, state.running, state.later, state.workers) == (2, 0, 0, 0)


async def test_live_jobs_go_first_and_a_waiting_job_is_raised_and_never_lowered(
    catalog: Catalog, collection: Collection
) -> None:
    backfill = [Job(source="s", uri=uri, lane="backfill") for uri in "abc"]
    await catalog.queue.add(collection, backfill)
    await catalog.queue.add(collection, [Job(source="s", uri="c")])
    await catalog.queue.add(collection, [Job(source="s", uri="d")])
    await catalog.queue.add(collection, backfill)
    assert [job.uri for job in await listed(catalog, collection)] == ["c", "d", "a", "b"]
    await take(catalog)
    jobs = await listed(catalog, collection)
    assert [(job.uri, job.running) for job in jobs] == [("c", True), ("d", False), ("a", False), ("b", False)]


async def test_a_retry_gives_way_to_a_new_event_and_not_the_other_way_round(
    catalog: Catalog, collection: Collection
) -> None:
    later = Job(source="s", uri="a", attempt=4, error="timeout", delay=600)
    await catalog.queue.add(collection, [later])
    [job] = await listed(catalog, collection)
    assert job.due is not None
    assert (await catalog.queue.state(collection)).later == 1
    assert not await catalog.queue.busy(collection)
    await catalog.queue.add(collection, [Job(source="s", uri="a")])
    for _ in range(2):
        [job] = await listed(catalog, collection)
        assert job.due is None
        assert (job.attempt, job.error) == (4, "timeout")  # passes are more frequent than late tries
        assert await catalog.queue.busy(collection)
        await catalog.queue.add(collection, [later])


async def test_a_document_that_changes_while_it_is_worked_on_gets_another_job(
    catalog: Catalog, collection: Collection
) -> None:
    await catalog.queue.add(collection, [Job(source="s", uri="a")])
    await take(catalog)
    await catalog.queue.add(collection, [Job(source="s", uri="a")])
    await take(catalog)  # gets nothing: the document is with somebody
    assert [(job.uri, job.running) for job in await listed(catalog, collection)] == [("a", True), ("a", False)]


async def test_jobs_are_taken_back_from_a_dead_worker_and_from_no_other(
    catalog: Catalog, collection: Collection
) -> None:
    await catalog.queue.add(collection, [Job(source="s", uri="dead"), Job(source="s", uri="alive")])
    await take(catalog, silent=LEASE + 1)
    await take(catalog, silent=LEASE - 2)
    assert await catalog.queue.take_back(collection) == 1
    assert [(job.uri, job.running) for job in await listed(catalog, collection)] == [("alive", True), ("dead", False)]
    assert await catalog.queue.take_back(collection) == 0
    assert (await catalog.queue.state(collection)).workers == 1


async def test_jobs_of_a_worker_that_is_gone_from_the_table_are_taken_back(
    catalog: Catalog, collection: Collection
) -> None:
    await catalog.queue.add(collection, [Job(source="s", uri="a", attempt=3, error="timeout")])
    worker = await take(catalog)
    async with await psycopg.AsyncConnection.connect(catalog.url, autocommit=True) as connection:
        await connection.execute("DELETE FROM ragstone_queue.procrastinate_workers WHERE id = %s", (worker,))
    assert await catalog.queue.take_back(collection) == 1
    [job] = await listed(catalog, collection)
    assert (job.running, job.attempt, job.error) == (False, 3, "timeout")


async def test_a_lost_job_is_not_taken_back_when_there_is_a_newer_one(catalog: Catalog, collection: Collection) -> None:
    await catalog.queue.add(collection, [Job(source="s", uri="a")])
    await take(catalog, silent=LEASE + 1)
    await catalog.queue.add(collection, [Job(source="s", uri="a", attempt=2, error="newer")])
    assert await catalog.queue.take_back(collection) == 0
    [job] = await listed(catalog, collection)
    assert (job.running, job.error) == (False, "newer")


async def test_dropping_spares_what_runs_and_other_collections(catalog: Catalog, collection: Collection) -> None:
    other = await catalog.ensure_collection("acme", "other")
    for one in (collection, other):
        await catalog.queue.add(one, [Job(source="s", uri=uri) for uri in "abcd"])
    await take(catalog)
    assert await catalog.queue.drop(collection, ["b", "nothing"]) == 1
    assert [job.uri for job in await listed(catalog, collection)] == ["a", "c", "d"]
    assert await catalog.queue.drop(collection) == 2
    assert [(job.uri, job.running) for job in await listed(catalog, collection)] == [("a", True)]
    assert len(await listed(catalog, other)) == 4


EVENTS = st.tuples(st.sampled_from("ab"), st.sampled_from(["live", "backfill"]), st.sampled_from([0.0, 100.0, 200.0]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENTS, min_size=1, max_size=6))
async def test_of_all_events_of_a_document_the_most_urgent_counts(
    catalog: Catalog, collection: Collection, events: list[tuple[str, str, float]]
) -> None:
    await catalog.queue.drop(collection)
    for uri, lane, delay in events:
        await catalog.queue.add(collection, [Job(source="s", uri=uri, lane=lane, delay=delay)])  # type: ignore[arg-type]
    jobs = {job.uri: job for job in await listed(catalog, collection)}
    assert jobs.keys() == {uri for uri, _, _ in events}
    now = {uri for uri, _, delay in events if delay == 0}
    assert {uri for uri, job in jobs.items() if job.due is None} == now
    urgent = {uri for uri, lane, _ in events if lane == "live"}
    assert {uri for uri, job in jobs.items() if job.lane == "live"} == urgent
