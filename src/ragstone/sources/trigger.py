"""Word of every change of a PostgreSQL table, by triggers on it and LISTEN."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from ragstone.errors import SourceError

logger = logging.getLogger(__name__)

PAUSE = 0.2  # seconds for which notices are gathered
MOST = 1000  # keys that one statement tells of; past it, it only says that something changed
LONGEST_KEY = 7900  # bytes: PostgreSQL takes a notice of 8,000
LONGEST_WAIT = 30.0  # seconds between two tries to connect again
LOCK_TIMEOUT = "10s"  # a trigger waits for the table's writers, and others then wait for it

# Once a statement, not once a row: a bulk load says one thing. What goes wrong in here must not fail the writer.
BODY = SQL("""
DECLARE keys text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        keys := ARRAY(SELECT format('%s', new_rows.{key}) FROM new_rows LIMIT {most} + 1);
    ELSIF TG_OP = 'DELETE' THEN
        keys := ARRAY(SELECT format('%s', old_rows.{key}) FROM old_rows LIMIT {most} + 1);
    ELSIF TG_OP = 'UPDATE' THEN
        keys := ARRAY(
            SELECT format('%s', old_rows.{key}) FROM old_rows
            UNION SELECT format('%s', new_rows.{key}) FROM new_rows LIMIT {most} + 1
        );
    END IF;
    IF cardinality(keys) <= {most} AND NOT EXISTS (SELECT FROM unnest(keys) AS k WHERE octet_length(k) > {longest}) THEN
        PERFORM pg_notify({channel}, k) FROM unnest(keys) AS k;
    ELSE
        PERFORM pg_notify({channel}, '');
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    PERFORM pg_notify({channel}, '');
    RETURN NULL;
END
""")
FUNCTION = SQL(
    "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql"
    " SET search_path = pg_catalog, pg_temp AS {body}"
)
TRIGGER = SQL(
    "CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {table} {rows}FOR EACH STATEMENT"
    " EXECUTE FUNCTION {function}()"
)
EVENTS = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows ",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ",
    "DELETE": "REFERENCING OLD TABLE AS old_rows ",
    "TRUNCATE": "",
}
INSTALLED = """
    SELECT count(*) FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE tgrelid = to_regclass(%s) AND prosrc = %s AND tgenabled <> 'D'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableTrigger:
    """Triggers that notify `ragstone_<source>` of the key of every row that is written, and whoever listens to it."""

    source: str
    url: str  # of libpq
    table: tuple[str, ...]  # a name, or schema and name
    key: str  # a column
    check: float = 30.0  # seconds without a notice after which to see that the triggers still stand

    async def keys(self) -> AsyncGenerator[frozenset[str], None]:
        """Keys that were written, gathered for a moment; an empty set where a listing has to tell what changed.

        That is so at first, after a TRUNCATE or a large statement, and when triggers or connection were lost.
        Raises SourceError when the triggers cannot be installed.
        """
        await self.install()
        failures = 0
        while True:
            try:
                async with await self._connect() as connection:
                    await connection.execute(SQL("LISTEN {}").format(Identifier(self.channel)))
                    failures = 0
                    yield frozenset()
                    while True:
                        if told := await _gathered(connection, self.check):
                            yield frozenset() if "" in told else told
                        elif not await self._stands(connection):
                            await self.install()
                            yield frozenset()
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                wait = min(2.0**failures, LONGEST_WAIT)
                failures += 1
                logger.warning("source %s: %s; listening again in %.0f s", self.source, _line(error), wait)
                await asyncio.sleep(wait)

    async def install(self) -> None:
        """Make the triggers, unless they are there. Raises SourceError."""
        try:
            async with await self._connect() as connection:
                if not await self._stands(connection):
                    await self._create(connection)
        except psycopg.errors.InsufficientPrivilege as error:
            hint = "let the table's owner run it once (docs/sources.md), or set notify = false to poll"
            raise self._error(f"may not install the triggers ({_line(error)})", hint) from error
        except psycopg.Error as error:
            raise self._error(f"cannot install the triggers ({_line(error)})", "set notify = false to poll") from error

    async def uninstall(self) -> None:
        """Remove triggers and function; nothing happens where there are none. Raises SourceError."""
        try:
            async with await self._connect() as connection, connection.transaction():
                for event in EVENTS:
                    drop = SQL("DROP TRIGGER IF EXISTS {} ON {}")
                    await connection.execute(drop.format(self._trigger(event), self._table))
                await connection.execute(SQL("DROP FUNCTION IF EXISTS {}()").format(self._function))
        except psycopg.Error as error:
            raise self._error(f"cannot remove the triggers ({_line(error)})") from error

    @property
    def channel(self) -> str:
        return _fitting(f"ragstone_{self.source}")

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            self.url, autocommit=True, keepalives_idle=30, keepalives_interval=10, keepalives_count=3
        )

    async def _stands(self, connection: psycopg.AsyncConnection) -> bool:
        names = (self._table.as_string(connection), self._body(connection))
        return await (await connection.execute(INSTALLED, names)).fetchone() == (len(EVENTS),)

    async def _create(self, connection: psycopg.AsyncConnection) -> None:
        function, table = self._function, self._table
        async with connection.transaction():
            await connection.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(LOCK_TIMEOUT)))
            await connection.execute(FUNCTION.format(function=function, body=Literal(self._body(connection))))
            for event, rows in EVENTS.items():
                await connection.execute(
                    TRIGGER.format(
                        trigger=self._trigger(event), event=SQL(event), table=table, rows=SQL(rows), function=function
                    )
                )

    def _body(self, connection: psycopg.AsyncConnection) -> str:
        filled = BODY.format(
            key=Identifier(self.key), channel=Literal(self.channel), most=Literal(MOST), longest=Literal(LONGEST_KEY)
        )
        return filled.as_string(connection)

    @property
    def _table(self) -> Identifier:
        return Identifier(*self.table)

    @property
    def _function(self) -> Identifier:
        """Beside the table, and its own for each, whatever the names: it names a column of it."""
        return Identifier(*self.table[:-1], _fitting(f"{self.channel}${self.table[-1]}"))

    def _trigger(self, event: str) -> Identifier:
        return Identifier(_fitting(f"{self.channel}_{event.lower()}"))

    def _error(self, message: str, hint: str = "") -> SourceError:
        return SourceError(f"source {self.source}: {message}; nothing was changed", hint=hint)


async def _gathered(connection: psycopg.AsyncConnection, timeout: float) -> frozenset[str]:
    """Waits for a notice, and then a moment for others; empty when there is none in time."""
    told = [notice.payload async for notice in connection.notifies(timeout=timeout, stop_after=1)]
    if told:
        told += [notice.payload async for notice in connection.notifies(timeout=PAUSE)]
    return frozenset(told)


def _fitting(name: str) -> str:
    """A name of at most 63 bytes, as PostgreSQL has them."""
    if len(name.encode()) <= 63:
        return name
    return name.encode()[:46].decode(errors="ignore") + "_" + hashlib.sha256(name.encode()).hexdigest()[:16]


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
