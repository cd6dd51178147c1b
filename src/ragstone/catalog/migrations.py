"""The schema, brought up to date: plain SQL files, forward only, all of them in one transaction.

The table of what was applied is written in the same transaction as the files themselves, under an advisory lock that
PostgreSQL drops with the connection: a process that is killed leaves nothing half done and nothing locked.
"""

from __future__ import annotations

from psycopg import AsyncConnection, errors
from psycopg.sql import SQL, Identifier

from ragstone.catalog.connections import Connection
from ragstone.catalog.faults import catalog_errors
from ragstone.catalog.queue import SCHEMA
from ragstone.catalog.statements import migrations, queue_migrations, queue_schema, script, statement
from ragstone.errors import CatalogError

OLDEST = 16
"""The oldest major version of PostgreSQL that is supported."""


async def ensure_schema(url: str) -> None:
    """Check the server and the schema with one query, and migrate if there is need. Raises CatalogError."""
    with catalog_errors():
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            if connection.info.server_version < OLDEST * 10_000:
                raise CatalogError(
                    f"this is PostgreSQL {connection.info.server_version // 10_000}, and {OLDEST} or newer is needed",
                    hint="upgrade it, or leave RAGSTONE_DATABASE_URL unset to use the embedded one",
                )
            if not await _is_current(connection):
                await _migrate(connection)


async def _is_current(connection: Connection) -> bool:
    try:
        applied, role = await _state(connection)
    except errors.UndefinedTable:
        return False
    return role and applied == {*migrations(), *queue_migrations()}


async def _state(connection: Connection) -> tuple[set[str], bool]:
    """The names of what was applied, and whether the tenants' role is there and as powerless as it must be."""
    cursor = await connection.execute(statement("schema_state"))
    row = await cursor.fetchone()
    assert row is not None
    return set(row[0]), row[1]


async def _migrate(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute(statement("lock_migrations"))
        try:
            await connection.execute(script("bootstrap.sql"))
        except errors.InsufficientPrivilege as error:
            raise CatalogError(f"PostgreSQL denies access: {error}", hint=_for_the_admin(connection)) from error
        applied, role = await _state(connection)
        if not role:
            raise CatalogError(
                "the role ragstone_tenant could bypass row-level security",
                hint="as an administrator: ALTER ROLE ragstone_tenant NOSUPERUSER NOBYPASSRLS",
            )
        known = migrations()
        if newer := applied - {*known, *queue_migrations()}:
            raise CatalogError(
                f"the database was made by a newer Ragstone (it has {', '.join(sorted(newer))})",
                hint="upgrade this Ragstone; going back is not possible",
            )
        for name, file in known.items():
            if name not in applied:
                await connection.execute(file.read_text(encoding="utf-8"))
                await connection.execute(statement("record_migration"), {"name": name})
        await _migrate_queue(connection, applied)


async def _migrate_queue(connection: Connection, applied: set[str]) -> None:
    """procrastinate's schema, made whole at first, and then brought up to the installed version's."""
    files = queue_migrations()
    missing = {name: file for name, file in files.items() if name not in applied}
    if not missing:
        return
    if len(missing) == len(files):
        scripts = [f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", f"CREATE SCHEMA {SCHEMA}", queue_schema()]
    else:
        scripts = [file.read_text(encoding="utf-8") for file in missing.values()]
    await connection.execute(f"SET LOCAL search_path = {SCHEMA}, pg_temp".encode())
    for sql in scripts:
        await connection.execute(sql.encode())
    await connection.execute(statement("anchor_queue"))
    for name in missing:
        await connection.execute(statement("record_migration"), {"name": name})


def _for_the_admin(connection: Connection) -> str:
    """What an administrator has to run for a user that may not create roles or schemas."""
    statements = SQL(
        "CREATE ROLE ragstone_tenant NOLOGIN (unless it is there); "
        "GRANT ragstone_tenant TO {user} WITH SET TRUE, INHERIT FALSE; GRANT CREATE ON DATABASE {database} TO {user};"
    )
    user, database = Identifier(connection.info.user), Identifier(connection.info.dbname)
    return "as an administrator: " + statements.format(user=user, database=database).as_string(connection)
