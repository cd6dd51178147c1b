"""Rows of a database table: one document a row, written as Markdown."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import closing
from datetime import date, datetime, time
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from ragstone.errors import DocumentTooLarge, SourceError, UnreadableDocument
from ragstone.models import Fetched, Item, Skip
from ragstone.settings import SqlSource

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement, Engine, RowMapping, Table

BATCH = 500
"""Rows that are held at a time while listing."""


class SqlTable:
    """Lists the rows of a table, and writes one down when it is fetched.

    A row's URI is `sql:<source>/<key>`; its revision is the version column, or else a hash of all columns used.
    """

    def __init__(self, name: str, settings: SqlSource) -> None:
        self.name = name
        self._settings = settings

    @property
    def prefix(self) -> str:
        return f"sql:{quote(self.name, safe='')}/"

    async def items(self) -> AsyncIterator[Item | Skip]:
        """Raises SourceError for a wrong URL, table or column, and when the database cannot be read."""
        seen: set[str] = set()
        with closing(self._batches()) as batches:
            while batch := await asyncio.to_thread(next, batches, None):
                for item in batch:
                    if isinstance(item, Item) and item.uri in seen:
                        raise self._error(f"column {self._settings.key} is no key: two rows have {item.uri}")
                    seen.add(item.uri)
                    yield item

    async def look(self, uri: str) -> Item | Skip | None:
        raise NotImplementedError

    async def fetch(self, item: Item, limit: int, known: str | None = None) -> Fetched | None:
        """Raises UnreadableDocument when the row or the database is gone."""
        try:
            row = await asyncio.to_thread(self._row, unquote(item.uri.removeprefix(self.prefix)))
        except SourceError as error:
            raise UnreadableDocument(str(error)) from error
        if row is None:
            raise UnreadableDocument(f"{item.name}: the row is gone")
        data = self._markdown(row).encode("utf-8", errors="replace")
        if len(data) > limit:
            raise DocumentTooLarge(f"{item.name} has {len(data):,} bytes, the limit is {limit:,}")
        now = self._item(row)
        assert isinstance(now, Item) and now.revision is not None  # it has a key
        if now.revision == known:
            return None
        return Fetched(data=data, revision=now.revision, charset="utf-8", modified_at=now.modified_at)

    def _batches(self) -> Generator[list[Item | Skip], None, None]:
        from sqlalchemy import select
        from sqlalchemy.exc import SQLAlchemyError

        statement = select(*self._columns()).execution_options(yield_per=BATCH)
        try:
            with self._engine.connect() as connection:
                for rows in connection.execute(statement).mappings().partitions():
                    yield [self._item(row) for row in rows]
        except SQLAlchemyError as error:
            raise self._error(_reason(error)) from error

    def _row(self, key: str) -> RowMapping | None:
        from sqlalchemy import select
        from sqlalchemy.exc import SQLAlchemyError

        statement = select(*self._columns()).where(_equals(self._table.c[self._settings.key], key))
        try:
            with self._engine.connect() as connection:
                return connection.execute(statement).mappings().first()
        except SQLAlchemyError as error:
            raise self._error(_reason(error)) from error

    def _item(self, row: RowMapping) -> Item | Skip:
        wanted = self._settings
        key, version = row[wanted.key], row[wanted.version] if wanted.version else None
        title = _line(row[wanted.title]) or str(key)
        if key is None:
            reason = f"{title}: the row has no {wanted.key}"
            return Skip(uri=f"{self.prefix}(no {wanted.key})", code=UnreadableDocument.code, reason=reason)
        return Item(
            uri=self.prefix + quote(str(key), safe=""),
            revision=hashlib.sha256(self._markdown(row).encode()).hexdigest() if version is None else str(version),
            name=f"{title}.md",
            modified_at=version if isinstance(version, datetime) and version.tzinfo else None,
        )

    def _markdown(self, row: RowMapping) -> str:
        """Front matter, the title as a heading, a paragraph for each text column; several are labelled."""
        import yaml

        wanted = self._settings
        matter = {name: _plain(row[name]) for name in wanted.metadata}
        front = f"---\n{yaml.safe_dump(matter, allow_unicode=True, sort_keys=False)}---\n" if matter else ""
        texts = [(name, str(row[name]).strip()) for name in wanted.text if row[name] is not None]
        labelled = [f"{_label(name)}: {text}" if len(wanted.text) > 1 else text for name, text in texts if text]
        return front + "\n\n".join([f"# {_line(row[wanted.title]) or row[wanted.key]}", *labelled]) + "\n"

    @property
    def _used(self) -> Sequence[str]:
        wanted = self._settings
        return [wanted.key, wanted.title, *wanted.text, *wanted.metadata, *([wanted.version] if wanted.version else [])]

    def _columns(self) -> list[Column[Any]]:
        columns = self._table.c
        for name in self._used:
            if name not in columns:
                raise self._error(
                    f"table {self._settings.table} has no column {name}", f"it has {_list(columns.keys())}"
                )
        return [columns[name] for name in dict.fromkeys(self._used)]

    @cached_property
    def _table(self) -> Table:
        from sqlalchemy import MetaData, Table, inspect
        from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError

        *schema, name = self._settings.table.split(".")
        try:
            return Table(name, MetaData(), schema=".".join(schema) or None, autoload_with=self._engine)
        except NoSuchTableError:
            tables = _list(inspect(self._engine).get_table_names())
            raise self._error(f"there is no table {self._settings.table}", f"there are {tables}") from None
        except SQLAlchemyError as error:
            raise self._error(_reason(error)) from error

    @cached_property
    def _engine(self) -> Engine:
        """Without a pool: a source has no end at which to close one."""
        from sqlalchemy import NullPool, create_engine
        from sqlalchemy.exc import ArgumentError

        try:
            engine = create_engine(self._settings.url.get_secret_value(), poolclass=NullPool)
        except (ArgumentError, ImportError) as error:
            raise self._error(_reason(error), "see SQLAlchemy's database URLs; a driver may be missing") from error
        file = engine.url.database
        if engine.dialect.name == "sqlite" and file and not Path(file).is_file():
            raise self._error(f"there is no file {file}")  # SQLite would make an empty one
        return engine

    def _error(self, message: str, hint: str = "") -> SourceError:
        return SourceError(f"source {self.name}: {message}; nothing was changed", hint=hint)


def _equals(column: Column[Any], key: str) -> ColumnElement[bool]:
    """A comparison by the column's own type, so that an index on it serves; by its text where that cannot be."""
    from sqlalchemy import String, cast

    try:
        value = column.type.python_type(key)
    except (NotImplementedError, ValueError, TypeError, ArithmeticError):
        return cast(column, String) == key
    condition: ColumnElement[bool] = column == value
    return condition


def _reason(error: Exception) -> str:
    """A driver's own words, without the statement."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def _line(value: Any) -> str:
    return " ".join(str(value).split()) if value is not None else ""


def _label(column: str) -> str:
    words = column.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
