"""What the catalog says of the points that an index should hold, and what it has indexes do again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.material import FINGERPRINT, generation, version
from ragstone.catalog import sweeping
from ragstone.catalog.catalog import Catalog
from ragstone.errors import CatalogError
from ragstone.index.applier import Applier
from ragstone.index.exact import ExactIndex
from ragstone.models import Entry, Replacement, Scope, document_id, scope_of

NAMES = "abc"


async def expected(catalog: Catalog, scope: Scope) -> list[Entry]:
    async with catalog.auditing.expected(scope) as batches:
        return [entry async for batch in batches for entry in batch]


async def newest(catalog: Catalog, after: int = 0) -> list[Replacement]:
    return (await catalog.replacements(after, 10**6))[0]


async def positions(url: str) -> list[int]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute("SELECT position FROM ragstone.change_log ORDER BY position")
        return [position for (position,) in await cursor.fetchall()]


async def test_the_points_of_a_scope_are_those_that_indexes_are_given(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragstone.catalog.auditing._BATCH", 3)
    collection, made = await generation(catalog)
    for one in (made, (await generation(catalog, settings="fixed"))[1], (await generation(catalog, "rival"))[1]):
        await catalog.publish(one, [version(name, [f"{name} {n}" for n in range(4)]) for name in NAMES])
    await catalog.publish(made, [version("a", ["another text"], revision="2")])
    await catalog.delete(collection, ["b"])
    given = [
        Entry(chunk_id=point.chunk_id, document_id=r.document_id, hash=point.hash)
        for r in await newest(catalog)
        if (r.tenant, r.generation) == ("acme", made.id)
        for point in r.points
    ]
    found = await expected(catalog, scope_of(made))
    assert found == sorted(given, key=lambda entry: entry.chunk_id)
    assert len(found) == 5
    assert await expected(catalog, Scope(tenant="acme", generation=made.id, fingerprint="e" * 64)) == []
    assert await expected(catalog, Scope(tenant="rival", generation=made.id, fingerprint=FINGERPRINT.digest)) == []


async def test_scopes_are_those_of_generations_that_live_or_still_hold_something(
    catalog: Catalog, database_url: str
) -> None:
    collection, made = await generation(catalog)
    _, half = await generation(catalog, settings="fixed")
    _, gone = await generation(catalog, settings="semantic")
    _, theirs = await generation(catalog, "rival")
    for one in (made, half, gone):
        await catalog.publish(one, [version("a", ["text"])])
    await catalog.drop(collection, gone)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("UPDATE ragstone.generations SET dropped_at = now() WHERE id = %s", [half.id])
    assert set(await catalog.auditing.scopes()) == {scope_of(one) for one in (made, half, theirs)}
    held = {one.scope: (one.collection, one.documents, one.chunks) for one in await catalog.auditing.holdings()}
    assert held == {scope_of(made): ("handbook", 1, 1), scope_of(theirs): ("handbook", 0, 0)}


async def test_documents_that_are_logged_again_come_as_they_stand(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    await catalog.publish(made, [version(name, [name]) for name in NAMES])
    await catalog.delete(collection, ["b"])
    before = await catalog.head()
    stranger = uuid4()
    ids = [document_id("acme", "handbook", name) for name in "ab"]
    waiting = asyncio.create_task(catalog.changed(before, 20))
    await catalog.auditing.log(scope_of(made), [*ids, stranger])
    assert await waiting
    again = {r.document_id: len(r.points) for r in await newest(catalog, before)}
    assert again == {ids[0]: 1, ids[1]: 0, stranger: 0}
    assert await catalog.auditing.changed(scope_of(made), [*ids, uuid4()], before) == set(ids)
    assert await catalog.auditing.count_changed(scope_of(made), before) == 3
    assert await catalog.auditing.changed(scope_of(made), ids, await catalog.head()) == set()


async def test_everything_is_logged_again_for_what_lives_of_every_tenant(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    _, gone = await generation(catalog, settings="fixed")
    _, theirs = await generation(catalog, "rival")
    for one in (made, gone, theirs):
        await catalog.publish(one, [version(name, [name]) for name in NAMES])
    await catalog.delete(collection, ["b"])
    await catalog.drop(collection, gone)
    before = await catalog.head()
    assert await catalog.auditing.log_everything() == 5
    again = sorted((r.tenant, r.generation, len(r.points)) for r in await newest(catalog, before))
    assert again == [("acme", made.id, 1)] * 2 + [("rival", theirs.id, 1)] * 3


async def test_a_scope_is_not_made_anew_while_it_is_let_go(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    await catalog.publish(made, [version("a", ["text"])])
    async with catalog.auditing.unheld(scope_of(made)) as unheld:
        assert not unheld
    await catalog.drop(collection, made)
    async with catalog.auditing.unheld(scope_of(made)) as unheld:
        assert unheld
        again = asyncio.create_task(generation(catalog))
        await asyncio.sleep(0.1)
        assert not again.done()
    await again
    async with catalog.auditing.unheld(scope_of(made)) as unheld:
        assert not unheld
    async with catalog.auditing.unheld(Scope(tenant="rival", generation=made.id, fingerprint="e")) as unheld:
        assert unheld


async def test_whose_documents_they_are(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    _, theirs = await generation(catalog, "rival")
    await catalog.publish(made, [version("ours", ["text"])])
    await catalog.publish(theirs, [version("theirs", ["text"])])
    ours, other = document_id("acme", "handbook", "ours"), document_id("rival", "handbook", "theirs")
    assert await catalog.auditing.foreign("acme", [ours, other, uuid4()]) == {other}
    assert await catalog.auditing.uris([ours, other, uuid4()]) == {ours: "ours", other: "theirs"}


async def test_the_last_audit_is_remembered_by_index(catalog: Catalog) -> None:
    assert await catalog.auditing.last("here") is None
    await catalog.auditing.record("here", {"missing": 2})
    await catalog.auditing.record("there", {})
    first = await catalog.auditing.last("here")
    assert first is not None
    assert first.found == {"missing": 2}
    await catalog.auditing.record("here", {})
    last = await catalog.auditing.last("here")
    assert last is not None
    assert last.found == {}
    assert last.at > first.at


async def test_an_audit_that_cannot_reach_the_catalog_says_so(catalog: Catalog) -> None:
    catalog.auditing._url = "postgresql://nobody@127.0.0.1:9/none"
    _, made = await generation(catalog)
    with pytest.raises(CatalogError, match="cannot reach PostgreSQL"):
        await expected(catalog, scope_of(made))


# --- compaction -------------------------------------------------------------------------------------------------

DO = st.sampled_from(("publish", "delete", "drop", "compact", "follow"))


@given(history=st.lists(st.tuples(DO, st.sampled_from(NAMES), st.integers(0, 1)), max_size=25))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whoever_follows_from_anywhere_comes_to_the_same_when_the_log_is_compacted(
    catalog: Catalog, history: Sequence[tuple[str, str, int]]
) -> None:
    """One follower is stopped at a random place and goes on at the end; another begins at the end from nothing."""
    collection, _ = await generation(catalog)
    made = [(await generation(catalog, settings=f"{uuid4()}"))[1] for _ in range(2)]
    scopes = [scope_of(one) for one in made]
    always, lagging, late = ExactIndex(), ExactIndex(), ExactIndex()
    for number, (action, name, which) in enumerate(history):
        if action == "publish" and (await catalog.generations(collection)).count(made[which]):
            await catalog.publish(made[which], [version(name, [f"{name} {number}"], revision=f"{number}")])
        elif action == "delete":
            await catalog.delete(collection, [name])
        elif action == "drop":
            await catalog.drop(collection, made[which])
        elif action == "compact":
            head = await catalog.head()
            await catalog.compact()
            assert await catalog.head() == head
        else:
            await Applier(catalog, lagging, batch=2).catch_up()
        await Applier(catalog, always, batch=2).catch_up()
    await catalog.compact()
    assert await catalog.compact() == 0
    for index in (lagging, late):
        assert await Applier(catalog, index, batch=2).catch_up() == await catalog.head()
        for scope in scopes:
            assert await held(index, scope) == await held(always, scope) == await expected(catalog, scope)


async def held(index: ExactIndex, scope: Scope) -> list[Entry]:
    return [entry async for batch in index.scan(scope) for entry in batch]


async def test_of_each_document_in_a_generation_the_newest_entry_stays(
    catalog: Catalog, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "_ENTRIES", 2)
    collection, made = await generation(catalog)
    _, other = await generation(catalog, settings="fixed")
    _, theirs = await generation(catalog, "rival")
    for n in range(3):
        for one in (made, other, theirs):
            await catalog.publish(one, [version(name, [f"{n}"], revision=f"{n}") for name in "ab"])
    await catalog.delete(collection, ["b"])
    whole = await positions(database_url)
    swept = await catalog.sweep(collection, history=100, tombstones=100, questions=100)
    left = await positions(database_url)
    assert swept.log_entries == len(whole) - len(left)
    newest: dict[tuple[str, UUID, UUID], int] = {}
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        cursor = await connection.execute("SELECT tenant, generation, document, position FROM ragstone.change_log")
        async for tenant, scope, document, position in cursor:
            assert (tenant, scope, document) not in newest
            newest[tenant, scope, document] = position
    assert len(newest) == 6
    assert max(whole) == max(left)
    assert (await catalog.sweep(collection, history=100, tombstones=100, questions=100)).log_entries == 0


async def test_the_log_may_be_compacted_by_two_and_written_to_at_once(catalog: Catalog, database_url: str) -> None:
    _, made = await generation(catalog)
    other = await Catalog.open(database_url)
    index = ExactIndex()

    async def write(name: str) -> None:
        for n in range(25):
            await catalog.publish(made, [version(name, [f"{n}"], revision=f"{n}")])

    async def keep_compacting(one: Catalog) -> None:
        while True:
            await one.compact()

    tasks = [asyncio.create_task(keep_compacting(one)) for one in (catalog, other)]
    tasks.append(asyncio.create_task(Applier(catalog, index, batch=2).run()))
    try:
        await asyncio.gather(*(write(name) for name in NAMES))
        assert await index.wait(await catalog.head(), 20)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await other.aclose()
    await catalog.compact()
    assert len(await positions(database_url)) == 3
    assert await held(index, scope_of(made)) == await expected(catalog, scope_of(made))
