"""Opening a catalog on any PostgreSQL, and what is said when that fails or the server goes away."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from catalog.material import generation, texts, version
from postgres import Postgres
from ragstone.catalog.catalog import Catalog
from ragstone.catalog.connections import conninfo
from ragstone.catalog.statements import migrations, queue_migrations
from ragstone.errors import CatalogError, CatalogUnavailable

OPEN = """
import asyncio, sys
from ragstone.catalog.catalog import Catalog
asyncio.run(Catalog.open(sys.argv[1]))
"""


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as url:
        yield url


async def _open_many(url: str) -> list[Catalog]:
    """Six catalogs opened at once; if one fails, all are closed."""
    opened = await asyncio.gather(*(Catalog.open(url, pool_size=1) for _ in range(6)), return_exceptions=True)
    catalogs = [catalog for catalog in opened if isinstance(catalog, Catalog)]
    if len(catalogs) < len(opened):
        await asyncio.gather(*(catalog.aclose() for catalog in catalogs))
    assert [error for error in opened if not isinstance(error, Catalog)] == []
    return catalogs


async def test_many_may_open_a_new_database_at_once(empty: str) -> None:
    opened = await _open_many(empty)
    _, made = await generation(opened[0])
    await opened[0].publish(made, [version("file:///a", ["one"])])
    assert await texts(opened[-1], made) == {"file:///a": ["one"]}
    await asyncio.gather(*(catalog.aclose() for catalog in opened))


async def test_an_upgrade_is_made_once_though_many_open(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = tmp_path / "0002_more.sql"
    upgrade.write_text("CREATE TABLE ragstone.more (a integer); SELECT pg_sleep(0.2);")
    known = {**migrations(), "0002_more": upgrade}
    monkeypatch.setattr("ragstone.catalog.migrations.migrations", lambda: known)
    for catalog in await _open_many(database_url):
        await catalog.aclose()
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT name FROM ragstone.migrations ORDER BY name").fetchall()
    assert {name for (name,) in rows} == {*known, *queue_migrations()}


async def test_an_upgrade_that_fails_changes_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = tmp_path / "0002_wrong.sql"
    upgrade.write_text("DROP TABLE ragstone.chunks; CREATE TABLE ragstone.chunks (a nonsense);")
    known = {**migrations(), "0002_wrong": upgrade}
    with monkeypatch.context() as patched:
        patched.setattr("ragstone.catalog.migrations.migrations", lambda: known)
        with pytest.raises(CatalogError, match="nonsense"):
            await Catalog.open(database_url)
    catalog = await Catalog.open(database_url)
    _, made = await generation(catalog)
    await catalog.publish(made, [version("file:///a", ["one"])])
    await catalog.aclose()


async def test_opening_again_changes_nothing(database_url: str) -> None:
    query = "SELECT name, applied_at FROM ragstone.migrations"
    with psycopg.connect(database_url) as connection:
        before = connection.execute(query).fetchall()
        await (await Catalog.open(database_url)).aclose()
        assert connection.execute(query).fetchall() == before != []


def _open_and_be_killed(url: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", OPEN, url])
    try:
        child.wait(random.uniform(0.3, 0.8))
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


async def test_a_migration_that_was_killed_is_made_good_by_the_next(empty: str) -> None:
    for _ in range(3):
        with psycopg.connect(empty, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS ragstone CASCADE")
        await asyncio.to_thread(_open_and_be_killed, empty)
        catalog = await Catalog.open(empty)
        _, made = await generation(catalog)
        await catalog.publish(made, [version("file:///a", ["one"])])
        await catalog.aclose()


async def test_a_database_of_a_newer_ragstone_is_left_alone(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO ragstone.migrations (name) VALUES ('9999_from_the_future')")
    with pytest.raises(CatalogError, match="9999_from_the_future") as caught:
        await Catalog.open(database_url)
    assert "upgrade" in caught.value.hint


async def test_an_old_server_is_refused(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.catalog.migrations.OLDEST", 99)
    with pytest.raises(CatalogError, match="99 or newer is needed"):
        await Catalog.open(empty)


async def test_without_the_right_to_grant_the_admin_is_told_what_to_run(postgres: Postgres) -> None:
    user, database = Identifier("the app"), Identifier("the app's")
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(SQL("DROP DATABASE IF EXISTS {}").format(database))
        admin.execute(SQL("DROP ROLE IF EXISTS {}").format(user))
        admin.execute(SQL("CREATE ROLE {} LOGIN").format(user))
        admin.execute(SQL("CREATE DATABASE {}").format(database))
        url = postgres.named("the%20app's").replace("postgres@", "the%20app@")
        with pytest.raises(CatalogError) as caught:
            await Catalog.open(url)
        assert "CREATE ROLE ragstone_tenant NOLOGIN" in caught.value.hint

        statements = caught.value.hint.removeprefix("as an administrator: ").split("; ")
        for statement in statements:
            if not statement.startswith("CREATE ROLE"):  # it is there, on this server
                admin.execute(statement.encode())
        catalog = await Catalog.open(url)
        _, made = await generation(catalog)
        await catalog.publish(made, [version("file:///a", ["one"])])
        assert await texts(catalog, made) == {"file:///a": ["one"]}
        await catalog.aclose()
        admin.execute(SQL("DROP DATABASE {}").format(database))
        admin.execute(SQL("DROP ROLE {}").format(user))


async def test_a_role_that_could_bypass_row_level_security_is_refused(empty: str) -> None:
    await (await Catalog.open(empty)).aclose()
    with psycopg.connect(empty, autocommit=True) as admin:
        admin.execute("ALTER ROLE ragstone_tenant BYPASSRLS")
        try:
            with pytest.raises(CatalogError, match="bypass") as caught:
                await Catalog.open(empty)
            assert "NOBYPASSRLS" in caught.value.hint
        finally:
            admin.execute("ALTER ROLE ragstone_tenant NOBYPASSRLS")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost:1/nowhere?connect_timeout=2",
        "postgresql:///nowhere?host=/does/not/exist",
        "postgresql://no-such-host.invalid/nowhere",
    ],
)
async def test_a_server_that_is_not_there(url: str) -> None:
    with pytest.raises(CatalogUnavailable) as caught:
        await Catalog.open(url)
    assert "RAGSTONE_DATABASE_URL" in caught.value.hint


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.catalog.connections.CONNECT", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/nowhere"
        async with asyncio.timeout(60):
            with pytest.raises(CatalogUnavailable, match="timeout"):
                await Catalog.open(url)


def test_a_connect_timeout_of_ones_own_is_kept() -> None:
    url = "postgresql://host/name?connect_timeout=99"
    assert conninfo_to_dict(conninfo(url))["connect_timeout"] == "99"


@pytest.mark.parametrize("url", ["secret", "postgres//user:secret@host/x", "postgresql://user:secret%@host/x"])
async def test_a_url_that_is_none_is_not_repeated_with_its_password(url: str) -> None:
    with pytest.raises(CatalogError, match="not a PostgreSQL URL") as caught:
        await Catalog.open(url)
    assert "secret" not in str(caught.value) + caught.value.hint
    assert not isinstance(caught.value, CatalogUnavailable)


async def test_connections_that_were_cut_are_replaced(catalog: Catalog, database_url: str) -> None:
    """As after a restart of the server: nobody gets an error."""
    _, made = await generation(catalog)
    for n in range(2):
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await catalog.publish(made, [version("file:///a", [f"text {n}"])])
        assert await texts(catalog, made) == {"file:///a": [f"text {n}"]}


async def test_a_server_that_went_away_is_told_in_time_and_found_when_it_is_back(
    database_url: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragstone.catalog.connections.RECONNECT", 1.0)
    catalog = await Catalog.open(database_url)
    name = Identifier(database_url.split("/")[3].split("?")[0])
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname LIKE 'test%'")
        with pytest.raises(CatalogUnavailable) as caught:
            await catalog.head()
        assert caught.value.hint
        admin.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    await catalog.aclose()
    back = await Catalog.open(database_url)
    assert await back.head() == 0
    await back.aclose()


async def test_more_callers_than_connections_wait_their_turn(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragstone.catalog.connections.RECONNECT", 0.5)
    catalog = await Catalog.open(database_url, pool_size=2)
    async with catalog._connections.owner(), catalog._connections.owner():
        waiting = [asyncio.create_task(catalog.head()) for _ in range(10)]
        await asyncio.sleep(0.8)
        assert not any(task.done() for task in waiting)
    assert await asyncio.gather(*waiting) == [0] * 10
    await catalog.aclose()


async def test_a_read_only_database_is_told(catalog: Catalog, database_url: str, postgres: Postgres) -> None:
    _, made = await generation(catalog)
    name = Identifier(database_url.split("/")[3].split("?")[0])
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        try:
            standby = await Catalog.open(database_url)
            assert await standby.states(made) == {}
            with pytest.raises(CatalogError, match="read-only") as caught:
                await standby.publish(made, [version("file:///a", ["one"])])
            assert "primary" in caught.value.hint
            await standby.aclose()
        finally:
            admin.execute(SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))


@pytest.fixture
def small_disk(postgres: Postgres) -> Iterator[Path]:
    """A file system of 1 MB that belongs to the server's user. Only root can make one."""
    folder = Path(tempfile.mkdtemp(prefix="ragstone-small-"))
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("cannot mount a small file system")
    with psycopg.connect(postgres.url) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
    os.chown(folder, Path(row[0]).stat().st_uid, -1)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    folder.rmdir()


async def test_a_full_disk_is_told_and_nothing_is_lost(catalog: Catalog, database_url: str, small_disk: Path) -> None:
    _, made = await generation(catalog)
    await catalog.publish(made, [version("file:///a", ["old"])])
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(SQL("CREATE TABLESPACE small LOCATION {}").format(str(small_disk)))
        admin.execute("ALTER TABLE ragstone.chunks SET TABLESPACE small")
        with pytest.raises(CatalogError, match="disk is full") as caught:
            await catalog.publish(made, [version("file:///a", [f"{n} " * 100 for n in range(3000)])])
        assert "free disk space" in caught.value.hint
        assert await texts(catalog, made) == {"file:///a": ["old"]}
        admin.execute("ALTER TABLE ragstone.chunks SET TABLESPACE pg_default")
        await catalog.publish(made, [version("file:///a", ["new"])])
        assert await texts(catalog, made) == {"file:///a": ["new"]}
        admin.execute("DROP TABLESPACE small")


async def test_a_catalog_keeps_its_identity_and_another_has_another(postgres: Postgres, database_url: str) -> None:
    first = await _identity(database_url)
    assert await _identity(f"{database_url}&options=-c%20TimeZone%3DAsia/Tokyo") == first
    with postgres.database() as other:
        assert await _identity(other) != first


async def _identity(url: str) -> str:
    catalog = await Catalog.open(url)
    try:
        return await catalog.identity()
    finally:
        await catalog.aclose()
