"""Positions, what stands at them, and being told of new ones."""

from __future__ import annotations

import asyncio
import random
import time

import numpy as np
import psycopg
import pytest

from catalog.material import FINGERPRINT, PREFIX, generation, stored, vector, version
from ragstone.catalog.catalog import Catalog
from ragstone.errors import CatalogError
from ragstone.models import document_id


async def test_a_publication_is_a_replacement_with_its_points(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    assert await catalog.head() == 0
    assert await catalog.replacements(0, 10) == ([], 0)
    position = await catalog.publish(made, [version("file:///a", ["one", "two"])])

    (replacement,), reached = await catalog.replacements(0, 10)
    assert reached == position == await catalog.head()
    assert (replacement.tenant, replacement.collection, replacement.generation) == ("acme", collection.id, made.id)
    assert (replacement.fingerprint, replacement.dimensions) == (FINGERPRINT.digest, 4)
    assert replacement.document_id == document_id("acme", "handbook", "file:///a")
    chunks = (await stored(catalog, made))["file:///a"]
    assert [p.chunk_id for p in replacement.points] == [c.id for c in chunks]
    assert [p.text for p in replacement.points] == [PREFIX + "one", PREFIX + "two"]
    for point in replacement.points:
        np.testing.assert_array_equal(point.vector, vector(point.text))


async def test_a_document_that_changed_often_comes_once_as_it_is_now(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    for n in range(5):
        await catalog.publish(made, [version("file:///a", [f"a {n}"]), version("file:///b", [f"b {n}"])])
    position = await catalog.delete(collection, ["file:///b"])
    replacements, reached = await catalog.replacements(0, 100)
    points = {r.document_id: [p.text for p in r.points] for r in replacements}
    assert len(replacements) == 2
    assert points[document_id("acme", "handbook", "file:///a")] == [PREFIX + "a 4"]
    assert points[document_id("acme", "handbook", "file:///b")] == []
    assert reached == position


async def test_small_steps_reach_the_same_place(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    _, other = await generation(catalog, tenant="rival")
    for n in range(7):
        await catalog.publish(made, [version(f"file:///{n % 3}", [f"text {n}"])])
        await catalog.publish(other, [version(f"file:///{n % 2}", [f"text {n}"])])
    await catalog.delete(collection, ["file:///1"])
    states = []
    for limit in (1, 4, 100):
        index: dict[object, list[str]] = {}
        position = 0
        while position < await catalog.head():
            replacements, reached = await catalog.replacements(position, limit)
            assert reached > position
            index |= {(r.tenant, r.document_id): [p.text for p in r.points] for r in replacements}
            position = reached
        states.append(index)
    assert states[0] == states[1] == states[2]
    assert sorted(map(len, states[0].values())) == [0, 1, 1, 1, 1]


async def test_deleting_from_two_generations_is_two_changes(catalog: Catalog) -> None:
    collection, first = await generation(catalog)
    _, second = await generation(catalog, settings="fixed")
    for made in (first, second):
        before = await catalog.publish(made, [version("file:///a", ["one"])])
    await catalog.delete(collection, ["file:///a"])
    replacements, _ = await catalog.replacements(before, 10)
    assert {r.generation for r in replacements} == {first.id, second.id}
    assert all(r.points == () for r in replacements)


async def test_a_missing_vector_is_told_and_not_passed_over(catalog: Catalog, database_url: str) -> None:
    _, made = await generation(catalog)
    await catalog.publish(made, [version("file:///a", ["one"])])
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM ragstone.vectors")
    with pytest.raises(CatalogError, match="vector"):
        await catalog.replacements(0, 10)


async def test_a_follower_sees_every_position_once_and_in_order(catalog: Catalog, database_url: str) -> None:
    """Slow and fast transactions commit in any order; their positions must not."""
    other = await Catalog.open(database_url)
    _, made = await generation(catalog)
    done = asyncio.Event()
    published: list[int] = []

    async def publisher(name: int) -> None:
        for n in range(12):
            width = random.Random(f"{name} {n}").choice([1, 1, 60])
            uris = [f"file:///{name}/{k}" for k in range(random.Random(n).choice([1, 4]))]
            versions = [version(uri, [f"{name} {n} {line}" for line in range(width)]) for uri in uris]
            published.append(await (catalog, other)[name % 2].publish(made, versions))

    async def follower() -> list[int]:
        seen: list[int] = []
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            while True:
                last_round = done.is_set()
                cursor = await connection.execute(
                    "SELECT position FROM ragstone.change_log WHERE position > %s ORDER BY position", (seen[-1:] or [0])
                )
                seen += [position for (position,) in await cursor.fetchall()]
                if last_round:
                    return seen

    following = asyncio.create_task(follower())
    await asyncio.gather(*(publisher(name) for name in range(6)))
    done.set()
    seen = await following
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        cursor = await connection.execute("SELECT position FROM ragstone.change_log ORDER BY position")
        assert seen == [position for (position,) in await cursor.fetchall()]
    assert set(published) <= set(seen)
    assert len(set(published)) == 72
    await other.aclose()


async def test_a_waiter_is_woken_by_another_process_of_the_catalog(
    catalog: Catalog, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With polling as good as off, only the notification can wake it."""
    monkeypatch.setattr("ragstone.catalog.changelog.POLL", 60.0)
    other = await Catalog.open(database_url)
    _, made = await generation(other)
    waiters = [asyncio.create_task(catalog.changed(0, timeout=60)) for _ in range(3)]
    await asyncio.sleep(0.2)
    await other.publish(made, [version("file:///a", ["one"])])
    started = time.monotonic()
    assert await asyncio.gather(*waiters) == [True, True, True]
    assert time.monotonic() - started < 30
    await other.aclose()


async def test_a_waiter_that_is_behind_does_not_wait_and_one_that_is_not_gives_up(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    position = await catalog.publish(made, [version("file:///a", ["one"])])
    assert await catalog.changed(position - 1, timeout=0)
    assert not await catalog.changed(position, timeout=0)
    assert not await catalog.changed(position, timeout=0.05)


async def test_a_waiter_lives_without_notifications(
    catalog: Catalog, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragstone.catalog.changelog.POLL", 0.05)
    _, made = await generation(catalog)
    waiter = asyncio.create_task(catalog.changed(0, timeout=60))
    await asyncio.sleep(0.2)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )
    await catalog.publish(made, [version("file:///a", ["one"])])
    assert await waiter
