from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from pydantic import SecretStr

from contracts.source import SourceContract, WatchedContract, content, listed, skipped, told, watching
from postgres import Postgres
from ragstone.errors import DocumentUnavailable, SourceError
from ragstone.models import Item
from ragstone.parsing.parse import parse
from ragstone.settings import load
from ragstone.source_settings import SqlSource
from ragstone.sources.sql import SqlTable

ROWS = [
    ("A/1 ü", "First *phone*", "Rings\nloudly.", "Keep the receipt.", 12.5, "v1"),
    ("B2", "Second", None, "# Not a title", None, "v1"),
    ("C3", None, "Third", None, 3, "v1"),
]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    run(
        tmp_path / "things.db",
        "CREATE TABLE things (tag TEXT, name TEXT, about TEXT, care_notes TEXT, price REAL, version TEXT)",
    )
    with closing(sqlite3.connect(tmp_path / "things.db")) as connection:
        connection.executemany("INSERT INTO things VALUES (?,?,?,?,?,?)", ROWS)
        connection.commit()
    return tmp_path / "things.db"


def run(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def table(path: Path, **changes: Any) -> SqlTable:
    settings = SqlSource(
        kind="sql",
        url=SecretStr(f"sqlite:///{path}"),
        table="things",
        key="tag",
        title="name",
        text=("about", "care_notes"),
        metadata=("price",),
    )
    return SqlTable("my things", settings.model_copy(update=changes))


class TestSqlTable(SourceContract, WatchedContract):
    @pytest.fixture
    def source(self, database: Path) -> SqlTable:
        return table(database, poll=0.02)

    @pytest.fixture
    def change_one(self, database: Path) -> Callable[[], None]:
        return lambda: run(database, "UPDATE things SET about = 'Changed' WHERE tag LIKE 'A%'")

    @pytest.fixture
    def remove_one(self, database: Path) -> Callable[[], None]:
        return lambda: run(database, "DELETE FROM things WHERE tag LIKE 'A%'")

    @pytest.fixture
    def spoil_one(self, database: Path) -> Callable[[], None]:
        return lambda: run(database, "INSERT INTO things (name) VALUES ('Without a key')")

    @pytest.fixture
    def remove_all(self, database: Path) -> Callable[[], None]:
        return lambda: run(database, "DROP TABLE things")


async def test_a_row_is_a_markdown_page(database: Path) -> None:
    source = table(database)
    first, second, third = await listed(source)
    assert (first.uri, first.name) == ("sql:my%20things/A%2F1%20%C3%BC", "First *phone*.md")
    assert (await content(source, first)).decode() == (
        "---\nprice: 12.5\n---\n# First *phone*\n\nAbout: Rings\nloudly.\n\nCare notes: Keep the receipt.\n"
    )
    document = parse(await content(source, second), second.name)
    assert (document.title, document.metadata) == ("Second", {"price": None})
    assert parse(await content(source, third), third.name).title == "C3"


async def test_the_handbooks_table_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(Path(__file__).parents[2] / "examples" / "handbook" / "ragstone.toml").sources["equipment"]
    assert isinstance(settings, SqlSource)
    source = SqlTable("equipment", settings)
    items = {item.uri: item for item in await listed(source)}
    assert len(items) == 15
    assert b"Warranty until: 2031-06-29" in await content(source, items["sql:equipment/FH-0401"])


async def test_one_text_column_needs_no_label(database: Path) -> None:
    source = table(database, text=("about",), metadata=())
    item = (await listed(source))[0]
    assert await content(source, item) == b"# First *phone*\n\nRings\nloudly.\n"


async def test_a_version_column_tells_of_changes(database: Path) -> None:
    source = table(database, version="version")
    assert [item.revision for item in await listed(source)] == ["v1", "v1", "v1"]
    run(database, "UPDATE things SET about = 'unseen' WHERE tag = 'B2'")
    run(database, "UPDATE things SET version = 'v2' WHERE tag = 'C3'")
    assert [item.revision for item in await listed(source)] == ["v1", "v1", "v2"]


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"table": "thing"}, "no table thing", "there are things"),
        ({"text": ("text",)}, "no column text", "it has tag, name, about, care_notes, price, version"),
        (
            {"url": SecretStr("sqlite:////nowhere/at/all.db")},
            "no file /nowhere/at/all.db",
            "the folder of ragstone.toml",
        ),
        ({"url": SecretStr("not a url")}, "Could not parse", "database URLs"),
        ({"url": SecretStr("mysql://u:hidden@h/d")}, "No module named", "driver"),
    ],
)
async def test_mistakes_are_named(database: Path, changes: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        await listed(table(database, **changes))
    assert hint in caught.value.hint
    assert "hidden" not in str(caught.value)


async def test_a_file_that_is_no_database(database: Path) -> None:
    database.write_bytes(b"no database at all " * 100)
    with pytest.raises(SourceError, match="not a database"):
        await listed(table(database))


async def test_keys_must_be_keys(database: Path) -> None:
    run(database, "INSERT INTO things (tag, name) VALUES (NULL, 'Nobody')")
    (skip,) = await skipped(table(database))
    assert skip.reason == "Nobody: the row has no tag"
    run(database, "INSERT INTO things (tag, name) VALUES ('B2', 'Twice')")
    with pytest.raises(SourceError, match="column tag is no key"):
        await listed(table(database))


async def test_many_rows_and_numbers_for_keys(tmp_path: Path) -> None:
    path = tmp_path / "many.db"
    run(path, "CREATE TABLE things (tag INTEGER PRIMARY KEY, name TEXT, about TEXT)")
    run(path, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 1200) "
              "INSERT INTO things SELECT i, 'Thing ' || i, 'Text ' || i FROM n")  # fmt: skip
    source = table(path, text=("about",), metadata=())
    items = await listed(source)
    assert len(items) == 1200
    assert await content(source, items[-1]) == b"# Thing 1200\n\nText 1200\n"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("INTEGER", [1, 2, -3]),
        ("TEXT", ["a", "A", " b/ü%20 "]),
        ("DATE", ["2026-01-02", "2026-01-03"]),
        ("REAL", [0.5, 1e30]),
        ("BLOB", [b"\x00a", b"b"]),
        ("INTEGER", ["of another type", 5]),
    ],
)
async def test_keys_of_any_type_are_found_again(tmp_path: Path, kind: str, values: list[Any]) -> None:
    path = tmp_path / "keys.db"
    run(path, f"CREATE TABLE things (tag {kind}, name TEXT, about TEXT)")
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany("INSERT INTO things VALUES (?, 'N', 'T')", [(value,) for value in values])
        connection.commit()
    source = table(path, text=("about",), metadata=())
    items = await listed(source)
    assert len(items) == len(values)
    for item in items:
        assert await source.look(item.uri) == item
        assert await content(source, item) == b"# N\n\nT\n"


async def test_a_value_that_is_not_of_its_columns_type_is_named(database: Path) -> None:
    run(database, "ALTER TABLE things ADD seen DATETIME")
    run(database, "UPDATE things SET seen = 'long ago'")
    with pytest.raises(SourceError, match="long ago"):
        await listed(table(database, version="seen"))


async def test_a_listing_that_is_cancelled_ends_as_one(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executemany("INSERT INTO things (tag, about) VALUES (?, ?)", [(f"t{n}", "x") for n in range(2000)])
        connection.commit()
    source = table(database)
    await listed(source)
    for wait in (0.0, 0.01, 0.02, 0.04):
        listing = asyncio.create_task(listed(source))
        await asyncio.sleep(wait)
        listing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listing


async def test_a_database_that_fails_may_come_back(database: Path) -> None:
    source = table(database)
    item = (await listed(source))[0]
    run(database, "DROP TABLE things")
    with pytest.raises(DocumentUnavailable, match="no such table"):
        await source.fetch(item, 1000)


# --- what changes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    path = tmp_path / "counted.db"
    run(path, "CREATE TABLE things (tag INTEGER PRIMARY KEY, name TEXT, about TEXT, version INTEGER)")
    run(path, "INSERT INTO things VALUES (1, 'One', 'T', 7), (2, 'Two', 'T', 8)")
    return path


def counting(path: Path, **changes: Any) -> SqlTable:
    return table(path, **{"text": ("about",), "metadata": (), "version": "version", "poll": 0.02, **changes})


async def test_polling_tells_of_rows_whose_version_grew(counted: Path) -> None:
    async with watching(counting(counted)) as changes:
        assert await anext(changes) == frozenset()  # a listing tells what changed before
        run(counted, "UPDATE things SET version = 9 WHERE tag = 1")
        assert await anext(changes) == {"sql:my%20things/1"}
        run(counted, "INSERT INTO things VALUES (3, 'Three', 'T', 9)")  # as new as the newest
        assert await anext(changes) == {"sql:my%20things/3"}
        run(counted, "DELETE FROM things WHERE version = 9")
        run(counted, "INSERT INTO things VALUES (4, 'Four', 'T', 10), (5, 'Five', 'T', 11)")
        assert await anext(changes) == {"sql:my%20things/4", "sql:my%20things/5"}


async def test_polling_begins_with_an_empty_table(counted: Path) -> None:
    run(counted, "DELETE FROM things")
    async with watching(counting(counted)) as changes:
        assert await anext(changes) == frozenset()
        run(counted, "INSERT INTO things VALUES (1, 'One', 'T', 1), (2, 'Two', 'T', 2)")
        assert await anext(changes) == {"sql:my%20things/1", "sql:my%20things/2"}


async def test_versions_of_text_have_no_order(database: Path) -> None:
    async with watching(table(database, version="version", poll=0.02)) as changes:
        assert [await anext(changes) for _ in range(3)] == [frozenset()] * 3


async def test_without_polling_nothing_is_told(counted: Path) -> None:
    async with watching(counting(counted, poll=0)) as changes:
        waiting = asyncio.ensure_future(told(changes, ""))
        run(counted, "UPDATE things SET version = 9")
        await asyncio.sleep(0.1)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_only_postgresql_notifies(counted: Path) -> None:
    async with watching(counting(counted, notify=True)) as changes:
        with pytest.raises(SourceError, match="only PostgreSQL") as caught:
            await anext(changes)
    assert "notify = false" in caught.value.hint


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(postgres: Postgres) -> Iterator[str]:
    """The URL of a database with a table of two things."""
    with postgres.database() as url:
        execute(url, "CREATE SCHEMA shop; CREATE TABLE shop.things (tag text PRIMARY KEY, name text, about text)")
        execute(url, "INSERT INTO shop.things VALUES ('a/1 ü', 'A', 'First'), ('b', 'B', 'Second')")
        yield url
        execute(url, "DROP SCHEMA shop CASCADE")


def execute(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


def changing(url: str, statement: str) -> Callable[[], None]:
    def change() -> None:
        execute(url, statement)

    return change


def as_user(url: str, name: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}"))


def notifying(url: str, **changes: Any) -> SqlTable:
    given = {"table": "shop.things", "text": ("about",), "metadata": (), "notify": True, "poll": 0.1, **changes}
    return table(Path(), url=SecretStr(url.replace("postgresql://", "postgresql+psycopg://")), **given)


class TestNotifyingTable(SourceContract, WatchedContract):
    @pytest.fixture
    def source(self, shop: str) -> SqlTable:
        return notifying(shop)

    @pytest.fixture
    def change_one(self, shop: str) -> Callable[[], None]:
        return changing(shop, "UPDATE shop.things SET about = 'Changed' WHERE tag LIKE 'a%'")

    @pytest.fixture
    def remove_one(self, shop: str) -> Callable[[], None]:
        return changing(shop, "DELETE FROM shop.things WHERE tag LIKE 'a%'")

    @pytest.fixture
    def spoil_one(self, shop: str) -> Callable[[], None]:
        without = "ALTER TABLE shop.things DROP CONSTRAINT things_pkey, ALTER tag DROP NOT NULL"
        return changing(shop, f"{without}; INSERT INTO shop.things (name) VALUES ('Without a key')")

    @pytest.fixture
    def remove_all(self, shop: str) -> Callable[[], None]:
        return changing(shop, "DROP TABLE shop.things")


async def test_notices_name_every_key_that_was_written(shop: str) -> None:
    async with watching(notifying(shop)) as changes:
        assert await anext(changes) == frozenset()
        for statement, keys in (
            ("INSERT INTO shop.things VALUES ('c'), ('d')", "cd"),
            ("UPDATE shop.things SET tag = 'e' WHERE tag = 'c'", "ce"),
            ("DELETE FROM shop.things WHERE tag IN ('d', 'e')", "de"),
            ("INSERT INTO shop.things VALUES ('b', 'B2') ON CONFLICT (tag) DO UPDATE SET name = excluded.name", "b"),
        ):
            execute(shop, statement)
            assert await anext(changes) == {f"sql:my%20things/{key}" for key in keys}


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE shop.things",
        "INSERT INTO shop.things SELECT n FROM generate_series(1, 1001) AS n",
        "INSERT INTO shop.things VALUES (repeat('ü', 5000))",
        "INSERT INTO shop.things VALUES ('')",
    ],
)
async def test_what_no_notice_can_name_asks_for_a_listing(shop: str, statement: str) -> None:
    execute(shop, "ALTER TABLE shop.things DROP CONSTRAINT things_pkey")  # its index takes no long keys
    async with watching(notifying(shop)) as changes:
        await anext(changes)
        execute(shop, statement)
        assert await anext(changes) == frozenset()


async def test_triggers_are_made_once_and_removed(shop: str) -> None:
    triggers = "SELECT tgname, xmin::text FROM pg_trigger WHERE tgrelid = 'shop.things'::regclass ORDER BY 1"
    source = notifying(shop)
    made = []
    for _ in range(2):
        async with watching(source) as changes:
            await anext(changes)
        made.append(execute(shop, triggers))
    assert len(made[0]) == 4
    assert made[0] == made[1]
    await source.uninstall()
    await source.uninstall()
    assert execute(shop, triggers) == []
    assert execute(shop, "SELECT proname FROM pg_proc WHERE proname LIKE 'ragstone%'") == []


async def test_two_tables_under_one_long_name_do_not_meet(shop: str) -> None:
    execute(shop, "CREATE TABLE shop.others (id integer PRIMARY KEY, name text, about text)")
    settings = notifying(shop)._settings
    name = "ü" * 100
    first = SqlTable(name, settings)
    second = SqlTable(name, settings.model_copy(update={"table": "shop.others", "key": "id"}))
    async with watching(first) as things, watching(second) as others:
        await anext(things)
        await anext(others)
        execute(shop, "INSERT INTO shop.others VALUES (5)")
        assert await anext(others) == {second.prefix + "5"}
        execute(shop, "DELETE FROM shop.things WHERE tag = 'b'")
        await told(things, first.prefix + "b")


async def test_names_that_run_into_each_other_do_not_meet(shop: str) -> None:
    execute(
        shop, "CREATE TABLE shop.b_c (keys text PRIMARY KEY, name text, about text); CREATE TABLE shop.c (keys text)"
    )
    execute(shop, "ALTER TABLE shop.c ADD name text, ADD about text")
    settings = notifying(shop, key="keys")._settings
    first = SqlTable("a", settings.model_copy(update={"table": "shop.b_c"}))
    second = SqlTable("a_b", settings.model_copy(update={"table": "shop.c"}))
    async with watching(first) as wide, watching(second) as narrow:
        await anext(wide)
        await anext(narrow)
        execute(shop, "INSERT INTO shop.b_c VALUES ('one'); INSERT INTO shop.c VALUES ('two')")
        assert await anext(wide) == {"sql:a/one"}
        assert await anext(narrow) == {"sql:a_b/two"}


async def test_names_of_any_characters(shop: str) -> None:
    execute(shop, """CREATE TABLE shop."Odd %s ""Ta'ble" ("the %I ""key" text, "na{me}" text, "te''xt" text)""")
    source = notifying(shop, table="shop.Odd %s \"Ta'ble", key='the %I "key', title="na{me}", text=("te''xt",))
    async with watching(source) as changes:
        await anext(changes)
        execute(shop, """INSERT INTO shop."Odd %s ""Ta'ble" VALUES ('k', 'N', 'T')""")
        assert await anext(changes) == {"sql:my%20things/k"}
    assert await content(source, (await listed(source))[0]) == b"# N\n\nT\n"
    await source.uninstall()


async def test_writers_do_not_fail_when_the_key_is_renamed(shop: str) -> None:
    async with watching(notifying(shop)) as changes:
        await anext(changes)
        execute(shop, "ALTER TABLE shop.things RENAME tag TO label")
        execute(shop, "INSERT INTO shop.things VALUES ('c')")
        assert await anext(changes) == frozenset()


async def test_after_a_lost_connection_a_listing_is_asked_for(shop: str) -> None:
    listeners = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    async with watching(notifying(shop)) as changes:
        await anext(changes)
        execute(shop, f"SELECT pg_terminate_backend(pid) {listeners}")
        execute(shop, "INSERT INTO shop.things VALUES ('c')")
        assert await anext(changes) == frozenset()
        execute(shop, "INSERT INTO shop.things VALUES ('d')")
        assert await anext(changes) == {"sql:my%20things/d"}


async def test_triggers_that_were_dropped_are_made_again(shop: str) -> None:
    source = notifying(shop)
    async with watching(source) as changes:
        await anext(changes)
        await source.uninstall()
        execute(shop, "INSERT INTO shop.things VALUES ('c')")
        assert await anext(changes) == frozenset()
        execute(shop, "INSERT INTO shop.things VALUES ('d')")
        assert await anext(changes) == {"sql:my%20things/d"}


async def test_who_may_not_make_triggers_is_told_what_to_do(shop: str) -> None:
    execute(shop, "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA shop TO reader")
    execute(shop, "GRANT SELECT ON shop.things TO reader")
    try:
        reading = notifying(as_user(shop, "reader"))
        async with watching(reading) as changes:
            with pytest.raises(SourceError, match="permission denied") as caught:
                await anext(changes)
        assert "table's owner" in caught.value.hint
        async with watching(notifying(shop)) as changes:  # the owner
            await anext(changes)
        async with watching(reading) as changes:
            await anext(changes)
            execute(shop, "INSERT INTO shop.things VALUES ('c')")
            assert await anext(changes) == {"sql:my%20things/c"}
    finally:
        execute(shop, "DROP OWNED BY reader; DROP ROLE reader")


async def test_keys_must_have_one_text_to_be_told_by_notices(shop: str) -> None:
    execute(shop, "ALTER TABLE shop.things ADD day date")
    async with watching(notifying(shop, key="day")) as changes:
        with pytest.raises(SourceError, match="neither number, text nor uuid"):
            await anext(changes)


@pytest.mark.parametrize(
    ("kind", "value"), [("bigint", "5"), ("char(4)", "ab"), ("numeric(8,2)", "1.5"), ("uuid", None)]
)
async def test_notices_and_listings_call_a_row_the_same(shop: str, kind: str, value: str | None) -> None:
    execute(shop, f"CREATE TABLE shop.keys (tag {kind}, name text, about text)")
    source = notifying(shop, table="shop.keys")
    async with watching(source) as changes:
        await anext(changes)
        given = f"'{value}'" if value else "gen_random_uuid()"
        execute(shop, f"INSERT INTO shop.keys VALUES ({given}, 'N', 'T')")
        (uri,) = await anext(changes)
    (item,) = await listed(source)
    assert item.uri == uri
    assert await source.look(uri) == item


async def test_postgresql_types(postgres: Postgres) -> None:
    with postgres.database() as url:
        with psycopg.connect(url) as connection:
            connection.execute(
                "DROP TABLE IF EXISTS things; CREATE TABLE things ("
                "tag uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text, about text,"
                " price numeric(8, 2), bought date, changed timestamptz DEFAULT now())"
            )
            connection.execute("INSERT INTO things (name, about, price, bought) VALUES ('N', 'T', 12.50, '2026-01-02')")
        source = table(
            Path(),
            url=SecretStr(url.replace("postgresql://", "postgresql+psycopg://")),
            text=("about",),
            metadata=("price", "bought"),
            version="changed",
        )
        (item,) = await listed(source)
        document = parse(await content(source, item), item.name)
        assert document.metadata == {"price": 12.5, "bought": "2026-01-02"}
        assert isinstance(item, Item)
        assert item.modified_at is not None
