"""What is let go: dropped generations, unused vectors, history, tombstones; and what never is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from catalog.material import generation, texts, version
from ragstone.catalog.catalog import Catalog
from ragstone.catalog.sweeping import Swept
from ragstone.errors import CatalogError
from ragstone.models import Collection, Item

KEPT = 100  # hours


def count(url: str, query: str) -> int:
    with psycopg.connect(url) as connection:
        row: tuple[Any, ...] | None = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])


@asynccontextmanager
async def log_held(url: str) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Nothing can be committed to the change log meanwhile. Gives a way to wait until so many statements wait."""
    async with await psycopg.AsyncConnection.connect(url) as holder:
        await holder.execute("SELECT pg_advisory_xact_lock(hashtextextended('ragstone.change_log', 0))")

        async def waiting(expected: int) -> None:
            async with asyncio.timeout(20):
                while True:
                    found = count(url, "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
                    if found >= expected:
                        return
                    await asyncio.sleep(0.01)

        yield waiting


async def sweep(catalog: Catalog, collection: Collection, hours: int = KEPT) -> Swept:
    return await catalog.sweep(collection, history=hours, tombstones=hours, questions=hours)


async def test_vectors_in_use_stay_whichever_generation_uses_them(catalog: Catalog) -> None:
    collection, old = await generation(catalog)
    _, new = await generation(catalog, settings="fixed")
    rival, theirs = await generation(catalog, tenant="rival")
    await catalog.publish(old, [version("a", ["shared", "only old"])])
    await catalog.publish(new, [version("a", ["shared", "only new"])])
    await catalog.publish(theirs, [version("a", ["theirs"])])
    assert (await sweep(catalog, collection)).vectors == 0
    await catalog.publish(old, [version("a", ["shared"], revision="2")])
    assert (await sweep(catalog, collection)).vectors == 1
    await catalog.delete(collection, ["a"])
    assert (await sweep(catalog, collection)).vectors == 2
    assert (await catalog.stats(rival)).vectors == 1
    assert await texts(catalog, theirs) == {"a": ["theirs"]}


async def test_history_and_tombstones_are_kept_for_their_time(catalog: Catalog, database_url: str) -> None:
    collection, made = await generation(catalog)
    await catalog.publish(made, [version("a", ["one"]), version("b", ["two"])])
    await catalog.publish(made, [version("a", ["three"], revision="2")])
    await catalog.delete(collection, ["b"])
    await catalog.record_question(collection, "why?")
    for uri, data in (("gone", None), ("there", b"x")):
        item = Item(uri=uri, revision=None, name=uri)
        await catalog.pushed.put(collection, "mail", item, data)
    kept = await sweep(catalog, collection)
    assert (kept.versions, kept.tombstones, kept.questions) == (0, 0, 0)
    swept = await sweep(catalog, collection, 0)
    assert (swept.versions, swept.tombstones, swept.questions) == (2, 2, 1)
    assert await texts(catalog, made) == {"a": ["three"]}
    assert [item.uri for item in await catalog.pushed.items(collection, "mail")] == ["there"]
    assert count(database_url, "SELECT count(*) FROM ragstone.documents") == 1


async def test_a_dropped_generation_is_written_to_no_more_and_never_serves(catalog: Catalog) -> None:
    collection, old = await generation(catalog)
    _, new = await generation(catalog, settings="fixed")
    for one in (old, new):
        await catalog.publish(one, [version("a", ["text"])])
    await catalog.serve(new)
    assert not await catalog.drop(collection, new)
    assert await catalog.drop(collection, old)
    assert await catalog.drop(collection, old)  # again, with nothing left to do
    assert [g.id for g in await catalog.generations(collection)] == [new.id]
    assert await texts(catalog, old) == {}
    assert await texts(catalog, new) == {"a": ["text"]}
    with pytest.raises(CatalogError, match="any more"):
        await catalog.publish(old, [version("a", ["late"])])
    with pytest.raises(CatalogError, match="any more"):
        await catalog.serve(old)
    seen = await catalog.observe(collection, "a")
    assert seen is not None
    assert seen.states.keys() == {new.id}


async def test_an_index_is_told_to_let_a_dropped_generations_points_go(catalog: Catalog) -> None:
    collection, old = await generation(catalog)
    await catalog.publish(old, [version("a", ["one"]), version("b", ["two"])])
    before = await catalog.head()
    await catalog.drop(collection, old)
    changes, _ = await catalog.replacements(before, 100)
    assert {(r.generation, r.points) for r in changes} == {(old.id, ())}
    assert len(changes) == 2


async def test_an_interrupted_drop_is_finished_by_the_next_sweep(catalog: Catalog, database_url: str) -> None:
    collection, old = await generation(catalog)
    await catalog.publish(old, [version(name, ["text", name]) for name in "abc"])
    async with log_held(database_url) as waiting:
        dropping = asyncio.create_task(catalog.drop(collection, old))
        await waiting(1)
        assert await catalog.generations(collection) == []
        dropping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dropping
    assert count(database_url, "SELECT count(*) FROM ragstone.chunks") == 6
    assert (await sweep(catalog, collection)).vectors == 4
    for table in ("chunks", "versions", "vectors"):
        assert count(database_url, f"SELECT count(*) FROM ragstone.{table}") == 0


async def test_what_is_made_anew_after_an_interrupted_drop_is_not_swept(catalog: Catalog, database_url: str) -> None:
    collection, old = await generation(catalog)
    await catalog.publish(old, [version("a", ["text"])])
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE ragstone.generations SET dropped_at = now()")
    await generation(catalog)
    await sweep(catalog, collection)
    assert await texts(catalog, old) == {"a": ["text"]}


async def test_a_generation_that_is_dropped_and_let_serve_at_once_is_one_of_both(catalog: Catalog) -> None:
    collection, _ = await generation(catalog)
    for n in range(30):
        _, one = await generation(catalog, settings=f"{n}")
        await catalog.publish(one, [version("a", ["text"])])
        dropped, served = await asyncio.gather(
            catalog.drop(collection, one), catalog.serve(one), return_exceptions=True
        )
        now = await catalog.collection("acme", "handbook")
        assert now is not None
        assert (now.serving == one.id) is (dropped is False) is (served is None)


async def test_a_sweep_waits_for_a_version_that_counts_on_an_unused_vector(catalog: Catalog, database_url: str) -> None:
    collection, made = await generation(catalog)
    await catalog.publish(made, [version("a", ["line"])])
    await catalog.delete(collection, ["a"])
    async with log_held(database_url) as waiting:
        publishing = asyncio.create_task(catalog.publish(made, [version("b", ["line"])]))
        await waiting(1)
        sweeping = asyncio.create_task(sweep(catalog, collection))
        await waiting(2)
    await publishing
    assert (await sweeping).vectors == 0
    await catalog.replacements(0, 100)  # raises when a vector is missing


async def test_no_vector_is_missing_when_versions_are_published_while_it_is_swept(
    catalog: Catalog, database_url: str
) -> None:
    collection, made = await generation(catalog)
    other = await Catalog.open(database_url)
    lines = [f"line {n}" for n in range(6)]

    async def publish(name: str, rng: random.Random) -> None:
        for n in range(60):
            if rng.random() < 0.2:
                await catalog.delete(collection, [name])
            else:
                chosen = rng.sample(lines, rng.randint(1, 3))
                await catalog.publish(made, [version(name, chosen, revision=f"{n}")])

    async def keep_sweeping() -> None:
        while True:
            await sweep(other, collection, 0)

    sweeping = asyncio.create_task(keep_sweeping())
    try:
        await asyncio.gather(*(publish(name, random.Random(name)) for name in "abc"))
    finally:
        sweeping.cancel()
        await asyncio.wait([sweeping])
        await other.aclose()
    await sweep(catalog, collection)
    changes, _ = await catalog.replacements(0, 10**6)
    used = {point.text for change in changes for point in change.points}
    assert (await catalog.stats(collection)).vectors == len(used)
