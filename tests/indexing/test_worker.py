"""Workers on a real queue: every document once, none twice at a time, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from random import Random

import psycopg
import pytest

from embedding.endpoint import ERROR, serving, vectors
from indexing.bench import Bench, Doing, Hashes, bench, running, until
from ragstone.catalog import embedded
from ragstone.catalog.catalog import Catalog
from ragstone.errors import (
    BrokenDocument,
    CatalogUnavailable,
    DocumentUnavailable,
    ModelMissing,
    ProviderError,
    ProviderUnavailable,
    RagstoneError,
    SourceError,
)
from ragstone.indexing import worker as working
from ragstone.indexing.pipeline import Outcome
from ragstone.models import Skip


@pytest.fixture
async def stand(catalog: Catalog) -> Bench:
    return await bench(catalog)


def raising(error: BaseException, *, times: int = 10**6) -> Doing:
    """A fetch that raises for documents whose name begins with bad, so many times."""
    left = [times]

    async def fetch(name: str) -> None:
        if name.startswith("bad") and left[0] > 0:
            left[0] -= 1
            raise error

    return fetch


async def settled(stand: Bench) -> bool:
    return not await stand.catalog.queue.busy(stand.collection)


# --- sharing the work -----------------------------------------------------------------------------------------------


async def test_workers_share_the_work_and_no_document_is_with_two(stand: Bench) -> None:
    rng = Random(7)

    async def takes_time(name: str) -> None:
        await asyncio.sleep(rng.random() * 0.02)

    stand.shelf.texts = {f"n{n}": f"text {n}" for n in range(80)}
    stand.shelf.doing = takes_time
    async with AsyncExitStack() as stack:
        benches = []
        for _ in range(3):
            catalog = await Catalog.open(stand.catalog.url)
            stack.push_async_callback(catalog.aclose)
            benches.append(replace(stand, catalog=catalog, done=[]))
        await stand.scan()
        async with running(*(b.worker() for b in benches)):
            await until(lambda: settled(stand))
    assert await stand.indexed() == {name: f"of {text}" for name, text in stand.shelf.texts.items()}
    assert set(stand.shelf.fetched.values()) == {1}
    assert stand.shelf.overlaps == set()
    assert all(b.done for b in benches)
    assert sum(len(b.done) for b in benches) == 80


async def test_of_many_events_of_a_few_documents_the_last_counts_and_none_overlap(stand: Bench) -> None:
    rng = Random(11)

    async def takes_time(name: str) -> None:
        await asyncio.sleep(rng.random() * 0.03)

    stand.shelf.doing = takes_time
    async with running(stand.worker(), replace(stand, done=[]).worker()):
        for n in range(60):
            name = f"n{rng.randrange(4)}"
            stand.shelf.texts[name] = f"text {n}"
            await stand.add(name)
        await until(lambda: settled(stand))
    assert await stand.indexed() == {name: f"of {text}" for name, text in stand.shelf.texts.items()}
    assert stand.shelf.overlaps == set()
    assert await stand.jobs() == []


async def test_a_document_that_changes_while_it_is_read_is_read_again(stand: Bench) -> None:
    async def changed_meanwhile(name: str) -> None:
        if stand.shelf.texts[name] == "before":
            stand.shelf.texts[name] = "after"
            await stand.add(name)

    stand.shelf.texts, stand.shelf.doing = {"n": "before"}, changed_meanwhile
    await stand.add("n")
    await stand.worker().drain()
    assert await stand.indexed() == {"n": "of after"}
    assert stand.shelf.fetched == {"n": 2}


async def test_a_foreground_pass_waits_for_what_another_worker_has(stand: Bench) -> None:
    go = asyncio.Event()

    async def waits(name: str) -> None:
        await go.wait()

    stand.shelf.texts, stand.shelf.doing = {"n": "text"}, waits
    await stand.add("n")
    async with running(stand.worker()):
        await until(lambda: _fetched(stand, 1))
        pass_ = asyncio.create_task(replace(stand, done=[]).worker().drain())
        await asyncio.sleep(0.5)
        assert not pass_.done()
        go.set()
        await pass_
    assert await stand.indexed() == {"n": "of text"}


async def _fetched(stand: Bench, count: int) -> bool:
    return stand.shelf.fetched.total() >= count


async def test_a_foreground_pass_cuts_no_long_document_off(stand: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "GRACE", 0.1)

    async def long(name: str) -> None:
        await asyncio.sleep(1.0)

    stand.shelf.texts, stand.shelf.doing = {"n": "text"}, long
    await stand.add("n")
    await stand.worker().drain()
    assert stand.shelf.fetched == {"n": 1}
    assert await stand.indexed() == {"n": "of text"}


async def test_what_is_gone_is_deleted(stand: Bench) -> None:
    stand.shelf.texts = {"n": "text", "other": "text"}
    await stand.scan()
    await stand.worker().drain()
    del stand.shelf.texts["n"]
    await stand.add("n", "never-was")
    await stand.worker().drain()
    assert await stand.indexed() == {"other": "of text"}
    assert {job.uri: r.fate for job, r in stand.done[2:] if isinstance(r, Outcome)} == {
        "shelf:/n": "deleted",
        "shelf:/never-was": "unchanged",
    }


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [DocumentUnavailable("busy"), SourceError("busy"), ProviderUnavailable("busy")], ids=lambda e: e.code
)
async def test_a_transient_failure_is_tried_again_and_then_put_down(
    stand: Bench, error: RagstoneError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragstone.indexing.retry.FIRST", 0.01)
    stand.shelf.texts = {"bad": "text", "good": "text"}
    stand.shelf.doing = raising(error)
    await stand.add("bad", "good")

    async def put_down() -> bool:
        return bool(await stand.failures())

    async with running(stand.worker(attempts=3)):
        await until(put_down)
    assert stand.shelf.fetched == {"bad": 3, "good": 1}
    failure = (await stand.failures())["bad"]
    assert (failure.attempts, failure.code, failure.reason) == (3, error.code, "busy")
    assert await stand.jobs() == []
    assert await stand.indexed() == {"good": "of text"}


async def test_a_transient_failure_that_passes_leaves_no_trace(stand: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.indexing.retry.FIRST", 0.01)
    stand.shelf.texts = {"bad": "text"}
    stand.shelf.doing = raising(DocumentUnavailable("busy"), times=2)
    await stand.add("bad")

    async def served() -> bool:
        return bool(await stand.indexed())

    async with running(stand.worker(attempts=3)):
        await until(served)
    assert (await stand.failures(), await stand.jobs()) == ({}, [])


async def test_a_try_waits_as_long_as_it_was_asked_to(stand: Bench) -> None:
    stand.shelf.texts = {"bad": "text"}
    stand.shelf.doing = raising(DocumentUnavailable("busy", retry_after=300.0))
    await stand.add("bad")
    await stand.worker().drain()
    [job] = await stand.jobs()
    assert (job.attempt, job.error, job.running) == (2, "busy", False)
    assert job.due is not None
    async with await psycopg.AsyncConnection.connect(stand.catalog.url) as connection:
        cursor = await connection.execute("SELECT extract(epoch FROM %s - now())::float8", (job.due,))
        row = await cursor.fetchone()
    assert row is not None
    assert 200 < row[0] <= 300
    await stand.worker().drain()  # nothing is due
    assert stand.shelf.fetched == {"bad": 1}


@pytest.mark.parametrize(
    ("error", "code"),
    [(BrokenDocument("no"), "broken"), (ZeroDivisionError("what"), "document")],
    ids=["broken", "bug"],
)
async def test_a_permanent_failure_costs_one_document_and_one_try(
    stand: Bench, error: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    stand.shelf.texts = {"bad": "text", "good": "text"}
    stand.shelf.doing = raising(error)
    await stand.scan()
    await stand.worker().drain()
    assert {name: (f.code, f.attempts, f.revision) for name, f in (await stand.failures()).items()} == {
        "bad": (code, 1, "of text")
    }
    assert await stand.indexed() == {"good": "of text"}
    assert ("Traceback" in caplog.text) == (code == "document")  # a bug is shown


async def test_a_document_that_fails_keeps_its_old_version(stand: Bench) -> None:
    stand.shelf.texts = {"bad": "old"}
    await stand.scan()
    await stand.worker().drain()
    stand.shelf.texts["bad"] = "new"
    stand.shelf.doing = raising(BrokenDocument("no"))
    await stand.scan()
    await stand.worker().drain()
    assert await stand.indexed() == {"bad": "of old"}
    assert (await stand.failures())["bad"].revision == "of new"


async def test_a_failure_of_the_content_is_not_tried_again_before_content_or_settings_change(stand: Bench) -> None:
    stand.shelf.texts = {"bad": "old"}
    stand.shelf.doing = raising(BrokenDocument("no"))
    assert await stand.scan() == ["shelf:/bad"]
    await stand.worker().drain()
    assert await stand.scan() == []
    assert await stand.scan(digest="others") == ["shelf:/bad"]
    await stand.worker(digest="others").drain()
    assert await stand.scan(digest="others") == []
    stand.shelf.texts["bad"] = "new"
    assert await stand.scan(digest="others") == ["shelf:/bad"]


async def test_a_dropped_failure_is_accepted_until_the_content_changes(stand: Bench) -> None:
    stand.shelf.texts = {"bad": "old"}
    stand.shelf.doing = raising(BrokenDocument("no"))
    await stand.scan()
    await stand.worker().drain()
    await stand.catalog.accept_failures(stand.collection, ["shelf:/bad"])
    assert (await stand.failures())["bad"].dropped
    assert await stand.scan(digest="others") == []
    stand.shelf.texts["bad"] = "new"
    assert await stand.scan(digest="others") == ["shelf:/bad"]


async def test_what_a_listing_skips_is_put_down_until_it_is_gone(stand: Bench) -> None:
    skip = Skip(uri="shelf:/locked", code="unreadable", reason="no permission")
    stand.shelf.texts, stand.shelf.skips = {"n": "text"}, [skip]
    await stand.scan()
    assert {name: (f.code, f.reason) for name, f in (await stand.failures()).items()} == {
        "locked": ("unreadable", "no permission")
    }
    await stand.catalog.accept_failures(stand.collection, [skip.uri])
    await stand.scan()
    assert (await stand.failures())["locked"].dropped
    stand.shelf.skips = []
    await stand.scan()
    assert await stand.failures() == {}


# --- what would meet every document ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ProviderError("the key is wrong"), ProviderUnavailable("away"), ModelMissing("no model")],
    ids=lambda e: e.code,
)  # fmt: skip
async def test_a_foreground_pass_ends_with_what_would_stop_every_document(stand: Bench, error: RagstoneError) -> None:
    stand.shelf.texts = {f"n{n}": f"text {n}" for n in range(30)}
    stand.embedder = hashes = Hashes(failing=error)
    await stand.scan()
    with pytest.raises(type(error)) as raised:
        await stand.worker().drain()
    assert raised.value is error
    assert stand.shelf.fetched.total() < 30
    jobs = await stand.jobs()
    assert {job.uri for job in jobs} == {stand.shelf.uri(name) for name in stand.shelf.texts}
    assert not any(job.running or job.due or job.attempt > 1 for job in jobs)
    assert await stand.failures() == {}
    hashes.failing = None
    await stand.worker().drain()
    assert len(await stand.indexed()) == 30


async def test_a_wrong_key_ends_a_foreground_pass_and_the_right_one_mends_it(stand: Bench) -> None:
    stand.shelf.texts = {f"n{n}": f"text {n}" for n in range(5)}
    await stand.scan()
    with serving() as endpoint:
        endpoint.answers = [(401, {}, ERROR)]
        wrong = replace(stand, embedder=endpoint.embedder(dimensions=4, batch_size=8))
        with pytest.raises(ProviderError) as raised:
            await wrong.worker().drain()
        assert raised.value.hint
        assert len(await stand.jobs()) == 5
        endpoint.answers = [(200, {}, lambda request: vectors(request, size=4))]
        await wrong.worker().drain()
        await wrong.embedder.aclose()
    assert len(await stand.indexed()) == 5
    assert (await stand.jobs(), await stand.failures()) == ([], {})


async def test_a_worker_waits_until_the_settings_are_mended(
    stand: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(working, "STOPPED", 0.3)
    stand.shelf.texts = {f"n{n}": f"text {n}" for n in range(30)}
    stand.embedder = hashes = Hashes(failing=ProviderError("the key is wrong", hint="mend it"))
    await stand.scan()

    async def told() -> bool:
        return caplog.text.count("the key is wrong; mend it") >= 2

    async def served() -> bool:
        return len(await stand.indexed()) == 30

    async with running(stand.worker()):
        await until(told)
        assert await stand.failures() == {}
        hashes.failing = None
        await until(served)
    assert caplog.text.count("the key is wrong") < 10  # once a pause, not once a document
    assert (await stand.jobs(), await stand.failures()) == ([], {})


# --- ends and outages -----------------------------------------------------------------------------------------------


async def stuck(name: str) -> None:
    await asyncio.sleep(3600)


@pytest.mark.parametrize("how", ["run", "drain"])
async def test_a_cancelled_worker_hands_its_jobs_back(
    stand: Bench, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(working, "GRACE", 0.2)
    stand.shelf.texts = {f"n{n}": f"text {n}" for n in range(6)}
    stand.shelf.doing = stuck
    await stand.scan()
    await stand.add("n0", attempt=1)
    worker = stand.worker(concurrency=4)
    task = asyncio.create_task(getattr(worker, how)())
    await until(lambda: _fetched(stand, 4))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    jobs = await stand.jobs()
    assert {job.uri for job in jobs} == {stand.shelf.uri(name) for name in stand.shelf.texts}
    assert not any(job.running or job.attempt > 1 for job in jobs)
    assert (await stand.catalog.queue.state(stand.collection)).workers == 0
    assert caplog.records == []


async def test_a_worker_that_is_told_to_stop_finishes_what_is_nearly_done(stand: Bench) -> None:
    async def a_moment(name: str) -> None:
        await asyncio.sleep(0.5)

    stand.shelf.texts, stand.shelf.doing = {"n": "text"}, a_moment
    await stand.add("n")
    async with running(stand.worker()):
        await until(lambda: _fetched(stand, 1))
    assert await stand.indexed() == {"n": "of text"}
    assert await stand.jobs() == []


async def test_a_job_that_was_taken_back_meanwhile_ends_without_a_word(
    stand: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def loses_its_worker(name: str) -> None:
        if stand.shelf.fetched[name] == 1:
            async with await psycopg.AsyncConnection.connect(stand.catalog.url, autocommit=True) as connection:
                await connection.execute("UPDATE ragstone_queue.procrastinate_jobs SET worker_id = NULL")
            await asyncio.sleep(0.5)

    stand.shelf.texts, stand.shelf.doing = {"n": "text"}, loses_its_worker
    await stand.add("n")
    await stand.worker().drain()
    gc.collect()  # brings errors of tasks to light that nobody awaits
    assert stand.shelf.fetched == {"n": 2}
    assert await stand.indexed() == {"n": "of text"}
    assert await stand.jobs() == []
    assert caplog.records == []


async def test_work_goes_on_after_postgresql_was_restarted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = embedded.start(tmp_path)
    try:
        catalog = await Catalog.open(server.url)
        stand = await bench(catalog)

        async def takes_time(name: str) -> None:
            await asyncio.sleep(0.05)

        async def served() -> bool:
            try:
                return len(await stand.indexed()) == 60 and not await stand.jobs()
            except CatalogUnavailable:
                return False

        stand.shelf.texts = {f"n{n}": f"text {n}" for n in range(60)}
        stand.shelf.doing = takes_time
        await stand.scan()
        async with running(stand.worker()) as tasks:
            await until(lambda: _fetched(stand, 10))
            await _kill(tmp_path)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.revive)
            await until(served, 60)
            assert not any(task.done() for task in tasks)
        await catalog.aclose()
    finally:
        server.stop()
    noise = [
        r for r in caplog.records if r.name.startswith(("procrastinate", "asyncio")) or r.levelno > logging.WARNING
    ]
    assert noise == []


async def _kill(data_dir: Path) -> None:
    postmaster = int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGKILL)


async def test_no_job_is_lost_in_an_outage_in_which_it_can_neither_be_retried_nor_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragstone.catalog.connections.RECONNECT", 0.5)
    server = embedded.start(tmp_path)
    try:
        catalog = await Catalog.open(server.url)
        stand = await bench(catalog)

        async def outage(name: str) -> None:
            if stand.shelf.fetched[name] == 1:
                await _kill(tmp_path)
                raise SourceError("busy")

        async def served() -> bool:
            try:
                return await stand.indexed() == {"n": "of text"}
            except CatalogUnavailable:
                return False

        stand.shelf.texts, stand.shelf.doing = {"n": "text"}, outage
        await stand.add("n")
        async with running(stand.worker()):
            await until(lambda: _fetched(stand, 1))
            await asyncio.sleep(2.5)
            await asyncio.to_thread(server.revive)
            await until(served, 60)
        assert await stand.jobs() == []
        await catalog.aclose()
    finally:
        server.stop()
