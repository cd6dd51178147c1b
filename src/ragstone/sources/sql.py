"""Rows of a database table: one document a row, written as Markdown."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager, suppress
from datetime import date, datetime, time
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote
from uuid import UUID

from ragstone.errors import DocumentTooLarge, DocumentUnavailable, SourceError, UnreadableDocument
from ragstone.models import Fetched, Item, Skip
from ragstone.source_settings import SqlSource

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement, Connection, Engine, RowMapping, Table

    from ragstone.sources.trigger import TableTrigger

BATCH = 500
"""Rows that are held at a time while listing."""

CHECK = 30.0
"""Seconds after which notices that do not come are looked after, where there is no polling."""

TOLD_BY_TEXT = frozenset({int, str, Decimal, UUID})
"""Types of keys of which each value has one text, the same in Python and in the database."""

WITH_AN_ORDER = frozenset({int, float, Decimal, datetime, date})
"""Types of versions of which a later one is the greater one."""


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
            while batch := await _drawn(batches):
                for item in batch:
                    if isinstance(item, Item) and item.uri in seen:
                        raise self._error(f"column {self._settings.key} is no key: two rows have {item.uri}")
                    seen.add(item.uri)
                    yield item

    async def look(self, uri: str) -> Item | Skip | None:
        if not uri.startswith(self.prefix):
            return None
        key = None if uri == self._keyless else unquote(uri.removeprefix(self.prefix))
        row = await asyncio.to_thread(self._row, key)
        found = None if row is None else self._item(row)
        return found if found and found.uri == uri else None  # a database may take other keys for the same

    async def fetch(self, item: Item, limit: int, known: str | None = None) -> Fetched | None:
        """Raises UnreadableDocument when the row is gone, DocumentUnavailable when the database is."""
        try:
            row = await asyncio.to_thread(self._row, unquote(item.uri.removeprefix(self.prefix)))
        except SourceError as error:
            raise DocumentUnavailable(str(error), hint=error.hint) from error
        if row is None:
            raise UnreadableDocument(f"{item.name}: the row is gone")
        revision = self._revision(row)
        if revision == known:
            return None
        data = self._markdown(row).encode("utf-8", errors="replace")
        if len(data) > limit:
            raise DocumentTooLarge(f"{item.name} has {len(data):,} bytes, the limit is {limit:,}")
        return Fetched(data=data, revision=revision, charset="utf-8", modified_at=self._modified_at(row))

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """Keys by notices of PostgreSQL, or by looking at the version column from time to time.

        The first set is empty: what changed before is for a listing to find. A removed row is told of by notices
        alone. Without a version column that has an order, every look is an empty set.
        """
        if self._settings.notify:
            async with aclosing((await asyncio.to_thread(self._trigger)).keys()) as written:
                async for keys in written:
                    yield frozenset(map(self._uri, keys))
        elif self._settings.poll:
            async with aclosing(self._polled()) as changed:
                async for uris in changed:
                    yield uris
        else:
            await asyncio.Event().wait()

    async def uninstall(self) -> None:
        """Remove what `notify` made in the database. Raises SourceError."""
        await (await asyncio.to_thread(self._trigger)).uninstall()

    async def _polled(self) -> AsyncGenerator[frozenset[str], None]:
        """A row that is committed late, with a version below the newest, is for the next listing to find."""
        newest = await asyncio.to_thread(self._newest)
        seen = await asyncio.to_thread(self._versions, newest)
        yield frozenset()
        while True:
            await asyncio.sleep(self._settings.poll)
            found = await asyncio.to_thread(self._versions, newest)
            changed = frozenset(uri for uri, version in found.items() if seen.get(uri) != version)
            newest = max(found.values(), default=newest)
            seen = {uri: version for uri, version in found.items() if version == newest}
            if changed or not self._ordered:
                yield changed

    def _batches(self) -> Generator[list[Item | Skip], None, None]:
        from sqlalchemy import select

        columns = self._columns()
        statement = select(*columns).order_by(self._table.c[self._settings.key]).execution_options(yield_per=BATCH)
        with self._connected() as connection:
            for rows in connection.execute(statement).mappings().partitions():
                yield [self._item(row) for row in rows]

    def _row(self, key: str | None) -> RowMapping | None:
        from sqlalchemy import select

        columns = self._columns()
        with self._connected() as connection:
            found = connection.execute(select(*columns).where(self._has(key, connection)))
            return found.mappings().first()

    def _has(self, key: str | None, connection: Connection) -> ColumnElement[bool]:
        """A comparison by the column's own type, so that an index serves; where text does not tell the value, all
        keys are read."""
        from sqlalchemy import false, select

        column = self._table.c[self._settings.key]
        if key is None:
            return column.is_(None)
        kind = _type(column)
        value: Any = None
        if kind in TOLD_BY_TEXT:
            with suppress(ValueError, ArithmeticError):
                value = kind(key)
        if value is None:
            values = connection.execute(select(column)).scalars()
            value = next((value for value in values if str(value) == key), None)
        matches: ColumnElement[bool] = column == value
        return false() if value is None else matches

    def _newest(self) -> Any:
        """The highest version, if they have an order."""
        from sqlalchemy import func, select

        self._columns()
        if not self._ordered:
            return None
        with self._connected() as connection:
            return connection.execute(select(func.max(self._version))).scalar()

    def _versions(self, since: Any) -> dict[str, Any]:
        """Version by URI of the rows that have this version or a higher one; of all that have any, without it."""
        from sqlalchemy import select

        key = self._table.c[self._settings.key]
        with self._connected() as connection:
            if not self._ordered:
                connection.execute(select(key).limit(1))  # it is still there
                return {}
            version = self._version
            condition = version.is_not(None) if since is None else version >= since
            rows = connection.execute(select(key, version).where(condition, key.is_not(None)))
            return {self._uri(key): version for key, version in rows}

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Raises SourceError for whatever the database says, and for values that are not of their column's type."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, ValueError, TypeError) as error:
            raise self._error(_reason(error)) from error

    def _item(self, row: RowMapping) -> Item | Skip:
        wanted = self._settings
        key = row[wanted.key]
        title = _line(row[wanted.title]) or str(key)
        if key is None:
            reason = f"{title}: the row has no {wanted.key}"
            return Skip(uri=self._keyless, code=UnreadableDocument.code, reason=reason)
        return Item(
            uri=self._uri(key), revision=self._revision(row), name=f"{title}.md", modified_at=self._modified_at(row)
        )

    def _uri(self, key: Any) -> str:
        return self.prefix + quote(str(key), safe="")

    @property
    def _keyless(self) -> str:
        """What rows without a key are called: no key is quoted like that."""
        return f"{self.prefix}(no {self._settings.key})"

    def _revision(self, row: RowMapping) -> str:
        version = row[self._settings.version] if self._settings.version else None
        return hashlib.sha256(self._markdown(row).encode()).hexdigest() if version is None else str(version)

    def _modified_at(self, row: RowMapping) -> datetime | None:
        version = row[self._settings.version] if self._settings.version else None
        return version if isinstance(version, datetime) and version.tzinfo else None

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

    @property
    def _version(self) -> Column[Any]:
        assert self._settings.version is not None
        return self._table.c[self._settings.version]

    @property
    def _ordered(self) -> bool:
        """Whether a later version is a greater one: of text, such as v9 and v10, that is not known."""
        return self._settings.version is not None and _type(self._version) in WITH_AN_ORDER

    def _trigger(self) -> TableTrigger:
        """Raises SourceError where there can be none."""
        from ragstone.sources.trigger import TableTrigger

        self._columns()  # have to be there
        wanted, engine = self._settings, self._engine
        if engine.dialect.name != "postgresql":
            raise self._error("only PostgreSQL tells of changes", "set notify = false to poll")
        if _type(self._table.c[wanted.key]) not in TOLD_BY_TEXT:
            raise self._error(f"column {wanted.key} is neither number, text nor uuid", "set notify = false to poll")
        url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        table = tuple(wanted.table.rsplit(".", 1))
        return TableTrigger(source=self.name, url=url, table=table, key=wanted.key, check=wanted.poll or CHECK)

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
            # SQLite would make an empty one.
            hint = "sqlite:///name.db is meant from the folder of ragstone.toml, sqlite:////name.db from the root"
            raise self._error(f"there is no file {file}", hint)
        return engine

    def _error(self, message: str, hint: str = "") -> SourceError:
        return SourceError(f"source {self.name}: {message}; nothing was changed", hint=hint)


async def _drawn(batches: Iterator[list[Item | Skip]]) -> list[Item | Skip] | None:
    """The next batch. Whoever is cancelled waits for what is being read: it could not be closed meanwhile."""
    reading = asyncio.ensure_future(asyncio.to_thread(next, batches, None))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait([reading])
        raise


def _type(column: Column[Any]) -> type | None:
    """The Python type of a column's values, where SQLAlchemy knows it."""
    try:
        return column.type.python_type
    except NotImplementedError:
        return None


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
