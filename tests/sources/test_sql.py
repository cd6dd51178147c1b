from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from contracts.source import SourceContract, content, listed, skipped
from postgres import Postgres
from ragstone.errors import SourceError
from ragstone.models import Item
from ragstone.parsing.parse import parse
from ragstone.settings import SqlSource, load
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


class TestSqlTable(SourceContract):
    @pytest.fixture
    def source(self, database: Path) -> SqlTable:
        return table(database)

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
        ({"url": SecretStr("sqlite:////nowhere/at/all.db")}, "no file /nowhere/at/all.db", ""),
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


async def test_postgresql_types(postgres: Postgres) -> None:
    import psycopg

    with postgres.database() as url:
        with psycopg.connect(url) as connection:
            connection.execute(
                "CREATE TABLE things (tag uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text, about text,"
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
