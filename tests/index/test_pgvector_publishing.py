"""What a catalog publishes can be found at that very commit, and whatever goes wrong is made good from the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from uuid import UUID

import psycopg
import pytest

from catalog.material import generation, vector, version
from ragstone.catalog.appending import Move
from ragstone.catalog.catalog import Catalog
from ragstone.catalog.connections import Connection
from ragstone.errors import CatalogError
from ragstone.index.applier import Applier
from ragstone.index.base import Index
from ragstone.index.exact import ExactIndex
from ragstone.index.filters import In, Range
from ragstone.index.pgvector import PgvectorIndex
from ragstone.models import Entry, Generation, Replacement, Scope, scope_of


@pytest.fixture
async def index(database_url: str) -> AsyncIterator[PgvectorIndex]:
    opened = PgvectorIndex.open(database_url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def attached(database_url: str, index: PgvectorIndex) -> AsyncIterator[Catalog]:
    """A catalog that the index is attached to."""
    opened = await Catalog.open(database_url, attached=index)
    yield opened
    await opened.aclose()


class Witness:
    """Attached, keeps what it is given and writes nothing."""

    def __init__(self) -> None:
        self.given: list[Replacement] = []
        self.moves: list[tuple[str, int, int]] = []

    async def write(self, connection: Connection, replacements: Sequence[Replacement]) -> Move:
        self.given = list(replacements)

        async def move(source: str, before: int, after: int) -> None:
            self.moves.append((source, before, after))

        return move


async def test_a_document_is_found_once_it_is_published(attached: Catalog, index: PgvectorIndex) -> None:
    collection, made = await generation(attached)
    scope = scope_of(made)
    position = await attached.publish(made, [version("file:///a", ["one", "two"]), version("file:///b", ["three"])])
    assert await index.position() == position == await attached.head()
    assert await index.source() == await attached.identity()
    assert await index.count(scope) == 3
    hits = await index.search(scope, vector=vector("Title\n\ntwo"), text="two", limit=1)
    assert [round(hit.cosine or 0, 3) for hit in hits] == [1.0]

    position = await attached.publish(made, [version("file:///a", ["four"], revision="2")])
    assert await index.count(scope) == 2
    assert await index.search(scope, vector=None, text="two", limit=10) == []
    await attached.claim(collection, "wiki", ["file:///a"])
    assert await index.count(scope, In("source", ("wiki",))) == 1
    assert await attached.delete(collection, ["file:///b"]) > position
    assert await index.count(scope) == 1
    assert await index.position() == await attached.head()
    _, other = await generation(attached, settings="fixed")
    await attached.publish(other, [version("file:///a", ["five"])])
    await attached.serve(made)
    assert await attached.drop(collection, other)
    assert await index.scopes() == [scope]
    assert await index.position() == await attached.head()


async def test_what_is_written_is_what_the_log_gives(database_url: str) -> None:
    witness = Witness()
    catalog = await Catalog.open(database_url, attached=witness)
    collection, made = await generation(catalog)

    async def compare(before: int) -> None:
        logged, after = await catalog.replacements(before, 100)
        assert [_comparable(each) for each in witness.given] == [_comparable(each) for each in logged]
        assert witness.moves[-1] == (await catalog.identity(), before, after)

    await catalog.publish(made, [version("file:///a", ["one", "two"]), version("file:///b", ["three"])])
    await compare(0)
    for change in (
        catalog.publish(made, [version("file:///a", ["four"], revision="2")]),
        catalog.claim(collection, "wiki", ["file:///a", "file:///b"]),
        catalog.delete(collection, ["file:///b"]),
    ):
        before = await catalog.head()
        await change
        await compare(before)
    await catalog.aclose()


def _comparable(replacement: Replacement) -> tuple[object, ...]:
    points = [(p.chunk_id, p.text, p.vector.tobytes(), p.hash) for p in replacement.points]
    return replacement.generation, replacement.document_id, replacement.fields, replacement.dimensions, points


async def test_what_is_rolled_back_leaves_nothing(database_url: str, attached: Catalog, index: PgvectorIndex) -> None:
    _, made = await generation(attached)
    position = await attached.publish(made, [version("file:///a", ["one"])])
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(REFUSE)
        with pytest.raises(CatalogError):
            await attached.publish(made, [version("file:///a", ["two"]), version("file:///b", ["two"])])
        admin.execute("DROP TRIGGER refuse ON ragstone.change_log")
    assert await index.position() == position
    assert await index.count(scope_of(made)) == (await index.health()).points == 1
    assert await index.search(scope_of(made), vector=None, text="two", limit=10) == []


REFUSE = """
CREATE FUNCTION ragstone.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE TRIGGER refuse AFTER INSERT ON ragstone.change_log EXECUTE FUNCTION ragstone.refuse();
"""


async def test_an_index_that_lags_is_caught_up_from_the_log(
    database_url: str, catalog: Catalog, attached: Catalog, index: PgvectorIndex
) -> None:
    """Some of it was published before the index was attached."""
    _, made = await generation(catalog)
    await catalog.publish(made, [version(f"file:///{n}", [f"early {n}"]) for n in range(5)])
    await attached.publish(made, [version("file:///3", ["late"])])
    assert await index.position() == 0
    assert await index.count(scope_of(made)) == 1
    applier = Applier(attached, index, batch=2)
    await applier.catch_up()
    await same_as_exact(attached, index, [scope_of(made)])
    await attached.publish(made, [version("file:///4", ["later"])])
    assert await index.position() == await attached.head()
    await same_as_exact(attached, index, [scope_of(made)])


async def test_a_document_is_published_though_the_index_fails(
    database_url: str, attached: Catalog, index: PgvectorIndex
) -> None:
    _, made = await generation(attached)
    before = await attached.publish(made, [version("file:///a", ["one"])])
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("ALTER TABLE ragstone_index.postings RENAME TO gone")
        after = await attached.publish(made, [version("file:///b", ["two"])])
        admin.execute("ALTER TABLE ragstone_index.gone RENAME TO postings")
    assert after > before == await index.position()
    await Applier(attached, index).catch_up()
    assert await index.position() == after
    await same_as_exact(attached, index, [scope_of(made)])


async def test_what_is_published_is_not_overtaken_by_what_the_log_said_before(
    database_url: str, catalog: Catalog, attached: Catalog, index: PgvectorIndex
) -> None:
    """A publisher has written its rows and waits for its turn at the log; meanwhile the index is caught up."""
    _, made = await generation(catalog)
    await attached.publish(made, [version("file:///b", ["before"])])
    await catalog.publish(made, [version("file:///a", ["early"])])
    applier = Applier(catalog, index)
    async with await psycopg.AsyncConnection.connect(database_url) as admin:
        await admin.execute("SELECT pg_advisory_xact_lock(hashtextextended('ragstone.change_log', 0))")
        publishing = asyncio.create_task(attached.publish(made, [version("file:///a", ["late"])]))
        await _waiting(admin, 1)
        catching_up = asyncio.create_task(applier.catch_up())
        await _waiting(admin, 2, unless=catching_up)
        await admin.rollback()
        await asyncio.gather(publishing, catching_up)
    await applier.catch_up()
    await same_as_exact(catalog, index, [scope_of(made)])


async def _waiting(admin: psycopg.AsyncConnection, count: int, unless: asyncio.Task[int] | None = None) -> None:
    """Until so many wait for a lock, or a task is done."""
    waiting = "SELECT count(*) >= %s FROM pg_locks WHERE NOT granted"
    while not (unless is not None and unless.done()):
        cursor = await admin.execute(waiting, [count])
        if await cursor.fetchone() == (True,):
            break
        await asyncio.sleep(0.02)


async def test_many_publish_while_the_index_is_built(database_url: str, catalog: Catalog) -> None:
    """Three processes' worth of publishers, and one that brings the index up to date from the log meanwhile."""
    _, made = await generation(catalog)
    _, other = await generation(catalog, tenant="rival")
    await catalog.publish(made, [version(f"file:///{n}", [f"early {n}"] * 3) for n in range(30)])
    async with AsyncExitStack() as stack:
        indexes = [PgvectorIndex.open(database_url, pool_size=2) for _ in range(3)]
        for each in indexes:
            stack.push_async_callback(each.aclose)
        catalogs = [await Catalog.open(database_url, pool_size=2, attached=each) for each in indexes]
        for opened in catalogs:
            stack.push_async_callback(opened.aclose)
        following = asyncio.create_task(Applier(catalogs[0], indexes[0], batch=3).run())
        await asyncio.gather(
            *(_publish(opened, each, n) for n, opened in enumerate(catalogs) for each in (made, other))
        )
        assert await indexes[0].wait(await catalog.head(), timeout=60)
        following.cancel()
        await asyncio.wait([following])
        await same_as_exact(catalog, indexes[1], [scope_of(made), scope_of(other)])


async def _publish(catalog: Catalog, made: Generation, publisher: int) -> None:
    for n in range(5):
        lines = [f"publisher {publisher} round {n} line {line}" for line in range(3)]
        await catalog.publish(made, [version(f"file:///{(n * 5 + publisher + k) % 30}", lines) for k in range(3)])


async def same_as_exact(catalog: Catalog, index: PgvectorIndex, scopes: Sequence[Scope]) -> None:
    """The index holds, counts and scores what one does that is made from the log alone."""
    exact = ExactIndex()
    await Applier(catalog, exact).catch_up()
    assert await index.position() == await exact.position()
    for scope in scopes:
        assert await _scanned(index, scope) == await _scanned(exact, scope)
        assert await index.count(scope) == await exact.count(scope)
        for where in (None, Range("sample", lt=0.5)):
            assert await index.count(scope, where) == await exact.count(scope, where)
        found, wanted = await _scores(index, scope), await _scores(exact, scope)
        assert found.keys() == wanted.keys()
        for chunk, scores in wanted.items():
            assert found[chunk] == pytest.approx(scores, abs=1e-3)


async def _scanned(index: Index, scope: Scope) -> list[Entry]:
    return [entry async for batch in index.scan(scope) for entry in batch]


async def _scores(index: Index, scope: Scope) -> dict[UUID, tuple[float, float]]:
    hits = await index.search(scope, vector=vector("a"), text="early late publisher line 3", limit=10_000)
    return {hit.chunk_id: (hit.cosine or 0, hit.bm25 or 0) for hit in hits}
