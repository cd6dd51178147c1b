"""What is said when PostgreSQL cannot do what the index needs, and how it recovers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from contracts.index import one_document, scope_of
from postgres import Postgres
from ragstone.errors import CatalogError, IndexFailure, IndexReadOnly, IndexTooOld, IndexUnavailable
from ragstone.index.pgvector import PgvectorIndex, schema


@pytest.fixture
async def index(database_url: str) -> AsyncIterator[PgvectorIndex]:
    opened = PgvectorIndex.open(database_url)
    yield opened
    await opened.aclose()


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


async def test_an_older_pgvector_is_told_of(index: PgvectorIndex, admin: psycopg.Connection) -> None:
    admin.execute("CREATE EXTENSION IF NOT EXISTS vector")
    admin.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    with pytest.raises(IndexTooOld, match=r"0\.7\.4, and 0\.8 or newer") as told:
        await index.position()
    assert "ALTER EXTENSION vector UPDATE" in told.value.hint
    admin.execute("UPDATE pg_extension SET extversion = '0.8.5' WHERE extname = 'vector'")
    assert await index.position() == 0


async def test_a_server_with_too_old_a_pgvector_is_told_of(
    index: PgvectorIndex, admin: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.execute("DROP EXTENSION IF EXISTS vector")
    monkeypatch.setattr(schema, "OLDEST", (99, 0))
    with pytest.raises(IndexTooOld) as told:
        await index.position()
    assert "upgrade pgvector" in told.value.hint
    assert "ALTER EXTENSION" not in told.value.hint


async def test_what_an_administrator_must_run_is_told(
    database_url: str, admin: psycopg.Connection, postgres: Postgres
) -> None:
    """A user that may make its schema, but is not let to make the extension."""
    admin.execute("DROP EXTENSION IF EXISTS vector")
    admin.execute("DROP ROLE IF EXISTS index_user")
    admin.execute("CREATE ROLE index_user LOGIN")
    try:
        address = urlsplit(database_url)
        host = f"index_user@{address.netloc.rpartition('@')[2]}"
        index = PgvectorIndex.open(urlunsplit(address._replace(netloc=host)))
        with pytest.raises(IndexFailure, match="permission denied") as told:
            await index.position()
        assert f"in the database {admin.info.dbname}: CREATE EXTENSION vector;" in told.value.hint
        await index.aclose()
    finally:
        admin.execute("DROP ROLE index_user")


async def test_a_database_that_became_read_only_is_searched_and_not_written(
    index: PgvectorIndex, admin: psycopg.Connection
) -> None:
    mine = one_document("a", "fox")
    await index.apply([mine], 1)
    database = Identifier(admin.info.dbname)
    admin.execute(SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
    try:
        admin.execute(DISCONNECT)
        assert len(await index.search(scope_of(mine), vector=None, text="fox", limit=1)) == 1
        assert (await index.health()).state == "read_only"
        with pytest.raises(IndexReadOnly, match="read-only"):
            await index.apply([one_document("a", "owl")], 2)
        assert await index.position() == 1
    finally:
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database))
    admin.execute(DISCONNECT)
    await index.apply([one_document("a", "owl")], 2)
    assert (await index.health()).state == "ready"


async def test_a_read_only_database_without_an_index_is_told_of(
    index: PgvectorIndex, admin: psycopg.Connection
) -> None:
    database = Identifier(admin.info.dbname)
    admin.execute(SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
    try:
        with pytest.raises(IndexReadOnly):
            await index.position()
    finally:
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database))
    assert await index.position() == 0


@pytest.fixture
def small_disk(admin: psycopg.Connection) -> Iterator[None]:
    """A tablespace with room for a few hundred points."""
    row = admin.execute("SHOW data_directory").fetchone()
    assert row is not None
    server = Path(row[0])
    folder = Path(tempfile.mkdtemp(dir=server.parent))
    owner = f"size=2m,mode=700,uid={server.stat().st_uid},gid={server.stat().st_gid}"
    mount = ["mount", "-t", "tmpfs", "-o", owner, "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("a small disk cannot be mounted here")
    admin.execute(SQL("CREATE TABLESPACE small LOCATION {}").format(str(folder)))
    yield
    admin.execute("DROP SCHEMA ragstone_index CASCADE")
    admin.execute("DROP TABLESPACE small")
    subprocess.run(["umount", "-l", folder], check=True)
    folder.rmdir()


@pytest.mark.usefixtures("small_disk")
async def test_a_full_disk_stops_writing_alone(index: PgvectorIndex, admin: psycopg.Connection) -> None:
    mine = one_document("a", "fox")
    await index.apply([mine], 1)
    admin.execute("ALTER TABLE ragstone_index.points SET TABLESPACE small")
    large = [one_document("a", *["owl"] * 500) for _ in range(30)]
    with pytest.raises(IndexReadOnly, match="disk is full") as told:
        await index.apply(large, 2)
    assert "free disk space" in told.value.hint
    assert await index.position() == 1
    assert len(await index.search(scope_of(mine), vector=None, text="fox", limit=1)) == 1
    assert (await index.health()).points == 1
    admin.execute("ALTER TABLE ragstone_index.points SET TABLESPACE pg_default")
    await index.apply(large, 2)
    assert (await index.health()).points == 15_001


async def test_lost_connections_are_made_anew(database_url: str, admin: psycopg.Connection) -> None:
    index = PgvectorIndex.open(database_url, pool_size=1)
    mine = one_document("a", "fox")
    await index.apply([mine], 1)
    admin.execute(DISCONNECT)
    assert await index.count(scope_of(mine)) == 1
    await index.apply([one_document("a", "owl")], 2)
    assert await index.position() == 2
    await index.aclose()


DISCONNECT = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def test_a_server_that_is_down_is_told_of() -> None:
    index = PgvectorIndex.open("postgresql://postgres@127.0.0.1:1/nothing")
    with pytest.raises(IndexUnavailable):
        await index.position()
    with pytest.raises(IndexUnavailable):
        await index.search(scope_of(one_document("a")), vector=np.ones(8, np.float32), text=None, limit=1)
    await index.aclose()
    with pytest.raises(CatalogError):
        PgvectorIndex.open("not a URL")


async def test_tables_that_vanish_are_made_anew(index: PgvectorIndex, admin: psycopg.Connection) -> None:
    await index.reset("a catalog")
    await index.apply([one_document("a", "fox")], 1)
    for damage in ("DROP SCHEMA ragstone_index CASCADE", "DROP EXTENSION vector CASCADE"):
        admin.execute(damage)
        with pytest.raises(IndexUnavailable, match="made anew"):
            await index.apply([one_document("a", "fox")], 2)
        assert (await index.source(), await index.position()) == ("", 0)
        await index.apply([one_document("a", "fox")], 1)
        assert (await index.health()).points == 1


async def test_an_index_of_an_older_layout_is_made_anew(
    database_url: str, index: PgvectorIndex, admin: psycopg.Connection
) -> None:
    for change in ("layout = 0", "signature = 'other weights'"):
        await index.apply([one_document("a", "fox")], 5)
        admin.execute(SQL("UPDATE ragstone_index.state SET {}").format(SQL(change)))
        other = PgvectorIndex.open(database_url)
        assert await other.position() == 0
        assert (await other.health()).points == 0
        await other.aclose()


async def test_an_index_of_a_newer_layout_is_left_alone(
    database_url: str, index: PgvectorIndex, admin: psycopg.Connection
) -> None:
    await index.apply([one_document("a", "fox")], 5)
    admin.execute("UPDATE ragstone_index.state SET layout = 99")
    other = PgvectorIndex.open(database_url)
    with pytest.raises(IndexFailure, match="newer Ragstone"):
        await other.position()
    await other.aclose()
    assert (await index.health()).points == 1


async def test_many_may_open_it_at_once(database_url: str) -> None:
    indexes = [PgvectorIndex.open(database_url, pool_size=1) for _ in range(6)]
    assert await asyncio.gather(*(index.position() for index in indexes)) == [0] * 6
    await asyncio.gather(*(index.aclose() for index in indexes))


async def test_a_tenant_cannot_read_the_points_of_another(index: PgvectorIndex, admin: psycopg.Connection) -> None:
    """Whatever statement is run as one."""
    await index.apply([one_document("a", "fox", "owl"), one_document("b", "fox")], 1)
    for tenant, own in (("a", 2), ("b", 1), ("c", 0)):
        with admin.transaction():
            admin.execute(
                "SELECT set_config('role', 'ragstone_tenant', true), set_config('ragstone.tenant', %s, true)", [tenant]
            )
            assert admin.execute("SELECT count(*) FROM ragstone_index.points").fetchone() == (own,)
            assert admin.execute("SELECT count(*) FROM ragstone_index.scopes").fetchone() == (min(own, 1),)


async def test_a_search_that_is_cancelled_harms_no_other(index: PgvectorIndex) -> None:
    mine = one_document("a", *["fox"] * 300)
    await index.apply([mine], 1)
    for delay in (0.0, 0.0005, 0.001, 0.002, 0.004):
        searching = [
            asyncio.create_task(index.search(scope_of(mine), vector=mine.points[0].vector, text="fox", limit=300))
            for _ in range(6)
        ]
        await asyncio.sleep(delay)
        for each in searching:
            each.cancel()
        await asyncio.wait(searching)
        assert len(await index.search(scope_of(mine), vector=None, text="fox", limit=300)) == 300
