"""Large scopes have graphs: searches walk them, filters cost no recall, churn and crashes are made good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import numpy as np
import numpy.typing as npt
import psycopg
import pytest

from ragstone.errors import IndexUnavailable
from ragstone.index.filters import In, Not, Range
from ragstone.index.pgvector import PgvectorIndex, engine, graphs, searching
from ragstone.models import Point, Replacement, Scope

Vector = npt.NDArray[np.float32]

DIMENSIONS = 24
POINTS = 1_000
SCOPE = Scope(tenant="acme", generation=UUID(int=1), fingerprint="a" * 64)


@pytest.fixture
async def index(database_url: str) -> AsyncIterator[PgvectorIndex]:
    opened = PgvectorIndex.open(database_url, build_from=800)
    yield opened
    await opened.aclose()


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def document(number: int, *, points: int = 1, seed: int = 0, scope: Scope = SCOPE) -> Replacement:
    random = np.random.default_rng(number + 1_000_000 * seed)
    return Replacement(
        tenant=scope.tenant, collection=UUID(int=2), generation=scope.generation, fingerprint=scope.fingerprint,
        dimensions=DIMENSIONS, document_id=UUID(int=number),
        points=tuple(
            Point(chunk_id=uuid4(), text=f"word{number % 7}", vector=random.standard_normal(DIMENSIONS).astype("f4"))
            for _ in range(points)
        ),
        fields={"number": (number,), "rare": (number % 100 == 0,), "even": (number % 2 == 0,)},
    )  # fmt: skip


async def filled(index: PgvectorIndex) -> PgvectorIndex:
    """With a large scope and a small one, their graphs made."""
    small = replace(SCOPE, tenant="rival")
    await index.apply([document(n) for n in range(POINTS)] + [document(n, scope=small) for n in range(50)], 1)
    await index.maintain()
    return index


def questions(count: int) -> list[Vector]:
    return [row.astype("f4") for row in np.random.default_rng(7).standard_normal((count, DIMENSIONS))]


async def walks(index: PgvectorIndex, admin: psycopg.Connection) -> int:
    """How often a graph was walked: a closed connection has reported all that it did."""
    await index.aclose()
    row = admin.execute(BUSY).fetchone()
    while row is not None and row[0]:
        await asyncio.sleep(0.02)
        row = admin.execute(BUSY).fetchone()
    row = admin.execute(
        "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname ~ '^graph_'"
    ).fetchone()
    assert row is not None
    return int(row[0])


BUSY = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def graph(admin: psycopg.Connection) -> tuple[str, int, bool]:
    """The one graph that there is: its name, its file and whether it is whole."""
    rows = admin.execute(
        "SELECT c.relname, pg_relation_filenode(c.oid), i.indisvalid FROM pg_class c "
        "JOIN pg_index i ON i.indexrelid = c.oid WHERE c.relname ~ '^graph_'"
    ).fetchall()
    assert len(rows) == 1
    return rows[0]


async def test_a_large_scope_is_walked_and_a_small_one_is_not(index: PgvectorIndex, admin: psycopg.Connection) -> None:
    before = await index.health()
    await filled(index)
    health = await index.health()
    assert (before.state, health.state, health.unbuilt, health.details["graphs"]) == ("ready", "ready", 0, 1)
    found = 0
    for vector in questions(20):
        hits = await index.search(SCOPE, vector=vector, text=None, limit=10)
        exact = await index.search(SCOPE, vector=vector, text=None, limit=10, exact=True)
        found += len({hit.chunk_id for hit in hits} & {hit.chunk_id for hit in exact})
        await index.search(replace(SCOPE, tenant="rival"), vector=vector, text=None, limit=10)
    assert found >= 195
    assert await walks(index, admin) == 20


async def test_a_scope_without_its_graph_is_scanned(index: PgvectorIndex) -> None:
    await index.apply([document(n) for n in range(POINTS)], 1)
    health = await index.health()
    assert (health.state, health.unbuilt) == ("building", POINTS)
    (vector,) = questions(1)
    hits = await index.search(SCOPE, vector=vector, text=None, limit=10)
    exact = await index.search(SCOPE, vector=vector, text=None, limit=10, exact=True)
    assert {hit.chunk_id for hit in hits} == {hit.chunk_id for hit in exact}


async def test_a_narrow_walk_finds_less(index: PgvectorIndex) -> None:
    await filled(index)

    async def nearest(ef: int | None, *, exact: bool = False) -> list[UUID]:
        each = [await index.search(SCOPE, vector=v, text=None, limit=1, ef=ef, exact=exact) for v in questions(60)]
        return [hits[0].chunk_id for hits in each]

    truth = await nearest(None, exact=True)
    narrow, broad = await nearest(1), await nearest(400)
    right = [sum(a == b for a, b in zip(found, truth, strict=True)) for found in (narrow, broad)]
    assert right[0] < right[1] >= 58


async def test_a_filter_that_lets_few_through_is_exact(index: PgvectorIndex, admin: psycopg.Connection) -> None:
    await filled(index)
    for where in (In("rare", (True,)), Range("number", gte=40, lt=70)):
        for vector in questions(5):
            hits = await index.search(SCOPE, vector=vector, text=None, limit=10, where=where)
            exact = await index.search(SCOPE, vector=vector, text=None, limit=10, where=where, exact=True)
            assert len(hits) == 10
            assert {hit.chunk_id for hit in hits} == {hit.chunk_id for hit in exact}
    assert await walks(index, admin) == 0


async def test_a_filter_that_lets_many_through_costs_no_recall(index: PgvectorIndex, admin: psycopg.Connection) -> None:
    await filled(index)
    found = 0
    for where in (In("even", (True,)), Not(In("rare", (True,)))):
        for vector in questions(10):
            hits = await index.search(SCOPE, vector=vector, text=None, limit=10, where=where, ef=40)
            exact = await index.search(SCOPE, vector=vector, text=None, limit=10, where=where, exact=True)
            found += len({hit.chunk_id for hit in hits} & {hit.chunk_id for hit in exact})
    assert found >= 190
    assert await walks(index, admin) == 20


async def test_a_walk_that_comes_to_too_few_is_done_by_scanning(
    index: PgvectorIndex, admin: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the filter lets through is on the other side of the space."""
    monkeypatch.setattr(searching, "WALKED", 10)
    (vector,) = questions(1)
    await filled(index)
    await index.apply([opposite(vector, n) for n in range(POINTS, POINTS + 400)], 2)
    where = In("far", (True,))
    hits = await index.search(SCOPE, vector=vector, text=None, limit=10, ef=10, where=where)
    exact = await index.search(SCOPE, vector=vector, text=None, limit=10, exact=True, where=where)
    assert {hit.chunk_id for hit in hits} == {hit.chunk_id for hit in exact}
    assert await walks(index, admin) == 1


def opposite(vector: Vector, number: int) -> Replacement:
    made = document(number)
    (point,) = made.points
    return replace(made, points=(replace(point, vector=0.1 * point.vector - vector),), fields={"far": (True,)})


async def test_much_churn_rebuilds_the_graph(
    index: PgvectorIndex, admin: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LEAST_CHURN", 1)
    await filled(index)
    name, file, _ = graph(admin)
    await index.apply([document(n, seed=1) for n in range(19)], 2)
    await index.maintain()
    assert graph(admin) == (name, file, True)  # 19 of 1,000 are less than CHURN
    await index.apply([document(n, seed=2) for n in range(20)], 3)
    await index.maintain()
    assert graph(admin)[0] == name
    rebuilt = graph(admin)[1]
    assert rebuilt != file
    await index.maintain()
    assert graph(admin) == (name, rebuilt, True)
    assert (await index.health()).details["graphs"] == 1


async def test_a_graph_that_a_crash_left_half_built_is_built_again(
    index: PgvectorIndex, admin: psycopg.Connection
) -> None:
    await filled(index)
    admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid::regclass::text ~ 'graph_'")
    assert (await index.health()).state == "building"
    (vector,) = questions(1)
    assert len(await index.search(SCOPE, vector=vector, text=None, limit=10)) == 10
    await index.maintain()
    assert graph(admin)[2]
    assert (await index.health()).state == "ready"


async def test_only_one_process_builds(database_url: str, index: PgvectorIndex, admin: psycopg.Connection) -> None:
    other = PgvectorIndex.open(database_url, build_from=800)
    await index.apply([document(n) for n in range(POINTS)], 1)
    await asyncio.gather(index.maintain(), other.maintain(), index.maintain())
    assert graph(admin)[2]
    await other.aclose()


async def test_searches_and_writes_go_on_beside_a_build_and_closing_ends_it(
    database_url: str, index: PgvectorIndex, admin: psycopg.Connection
) -> None:
    """A transaction that is left open keeps the build from ending."""
    await index.apply([document(n) for n in range(POINTS)], 1)
    builder = PgvectorIndex.open(database_url, build_from=800)
    with psycopg.connect(database_url) as holding:
        holding.execute("LOCK TABLE ragstone_index.points IN ROW EXCLUSIVE MODE")
        building = asyncio.create_task(builder.maintain())
        while not admin.execute("SELECT FROM pg_stat_progress_create_index").fetchall():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await index.apply([document(n, seed=1) for n in range(10)], 2)
        (vector,) = questions(1)
        assert len(await index.search(SCOPE, vector=vector, text="word1", limit=10)) >= 10
        await index.maintain()  # leaves it to the other
        assert not building.done()
        building.cancel()
        await asyncio.wait([building])
        await builder.aclose()
    assert not graph(admin)[2]
    async with asyncio.timeout(30):
        while not graph(admin)[2]:
            await index.maintain()


async def test_a_reset_ends_a_build(database_url: str, index: PgvectorIndex, admin: psycopg.Connection) -> None:
    await index.apply([document(n) for n in range(POINTS)], 1)
    builder = PgvectorIndex.open(database_url, build_from=800)
    with psycopg.connect(database_url) as holding:
        holding.execute("LOCK TABLE ragstone_index.points IN ROW EXCLUSIVE MODE")
        building = asyncio.create_task(builder.maintain())
        while not admin.execute("SELECT FROM pg_stat_progress_create_index").fetchall():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        resetting = asyncio.create_task(index.reset("another catalog"))
        with pytest.raises(IndexUnavailable):
            await building
    await resetting
    await builder.aclose()
    assert (await index.health()).points == 0
    await filled(index)
    assert graph(admin)[2]


async def test_a_scope_that_shrinks_or_goes_loses_its_graph(index: PgvectorIndex) -> None:
    await filled(index)
    gone = [replace(document(n), points=(), fields={}) for n in range(POINTS)]
    await index.apply(gone[:500], 2)
    await index.maintain()
    assert (await index.health()).details["graphs"] == 1  # not at every change around the limit
    await index.apply(gone[500:800], 3)
    await index.maintain()
    assert (await index.health()).details["graphs"] == 0
    await index.apply([document(n) for n in range(POINTS)], 4)
    await index.maintain()
    await index.drop(SCOPE)
    health = await index.health()
    assert (health.details["graphs"], health.points) == (0, 50)


async def test_a_process_that_follows_builds_by_itself(
    database_url: str, index: PgvectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    await index.apply([document(n) for n in range(POINTS)], 1)
    monkeypatch.setattr(engine, "UPKEEP", 0.05)
    follower = PgvectorIndex.open(database_url, build_from=800)
    assert await follower.position() == 1
    async with asyncio.timeout(60):
        while (await index.health()).details["graphs"] != 1:  # noqa: ASYNC110 (it is another task of the index)
            await asyncio.sleep(0.05)
    await follower.aclose()


async def test_nothing_is_built_on_a_server_that_is_read_only(
    database_url: str, index: PgvectorIndex, admin: psycopg.Connection
) -> None:
    await index.apply([document(n) for n in range(POINTS)], 1)
    standby = PgvectorIndex.open(f"{database_url}&options=-cdefault_transaction_read_only%3Don", build_from=800)
    await standby.maintain()
    health = await standby.health()
    assert (health.state, health.details["graphs"]) == ("read_only", 0)
    assert len(await standby.search(SCOPE, vector=questions(1)[0], text=None, limit=10)) == 10
    await standby.aclose()
