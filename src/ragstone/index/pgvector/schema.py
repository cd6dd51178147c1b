"""The extension and the tables, made when they are missing and made anew when they are of another layout."""

from __future__ import annotations

from psycopg import errors

from ragstone.catalog.connections import Connection
from ragstone.errors import IndexFailure, IndexTooOld
from ragstone.index import lexical
from ragstone.index.pgvector.statements import schema, statement

LAYOUT = 1
"""Of the tables. An index of an older one, or with other weights of words, is dropped and built anew."""

OLDEST = (0, 8)
"""The oldest pgvector: scans of a graph go on until a filter has let enough through since then."""

OLDEST_SERVER = 16


async def ensure_schema(connection: Connection) -> None:
    """Make the tables what this release needs. Raises IndexTooOld and IndexFailure, and what the driver raises."""
    major = connection.info.server_version // 10_000
    if major < OLDEST_SERVER:
        raise IndexTooOld(
            f"this is PostgreSQL {major}, and {OLDEST_SERVER} or newer is needed", hint="upgrade it, or set index.url"
        )
    if await _is_current(connection):
        return
    async with connection.transaction():
        await connection.execute(statement("lock_schema"))
        if not await _is_current(connection):
            await _ensure_extension(connection)
            await connection.execute(statement("settle_session"))
            await connection.execute(statement("drop_schema"))
            await connection.execute(schema())
            parameters = {"layout": LAYOUT, "signature": lexical.SIGNATURE}
            await connection.execute(statement("first_state"), parameters)


async def _is_current(connection: Connection) -> bool:
    cursor = await connection.execute(statement("installed"))
    whole, begun = await cursor.fetchone() or (False, False)
    if not begun:
        return False
    cursor = await connection.execute(statement("layout"))
    layout, signature = await cursor.fetchone() or (0, "")
    if layout > LAYOUT:
        raise IndexFailure("the index was made by a newer Ragstone", hint="upgrade this Ragstone")
    return bool(whole) and layout == LAYOUT and signature == lexical.SIGNATURE


async def _ensure_extension(connection: Connection) -> None:
    cursor = await connection.execute(statement("extension"))
    installed, available = await cursor.fetchone() or (None, None)
    wanted = ".".join(map(str, OLDEST))
    if installed is None and available is None:
        major = connection.info.server_version // 10_000
        raise IndexTooOld(
            "PostgreSQL has no pgvector",
            hint=f"install pgvector {wanted} or newer on its machine (Debian: postgresql-{major}-pgvector), "
            "or choose another engine by index.url",
        )
    if _version(installed or available) < OLDEST:
        remedy = "" if available is None or _version(available) < OLDEST else ": ALTER EXTENSION vector UPDATE"
        raise IndexTooOld(
            f"pgvector is {installed or available}, and {wanted} or newer is needed",
            hint=f"upgrade pgvector as an administrator{remedy}",
        )
    if installed is None:
        await _create_extension(connection)


async def _create_extension(connection: Connection) -> None:
    try:
        await connection.execute(statement("create_extension"))
    except errors.InsufficientPrivilege as error:
        database = connection.info.dbname
        raise IndexFailure(
            f"PostgreSQL denies access: {error}",
            hint=f"as an administrator, in the database {database}: {statement('create_extension')};",
        ) from error


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
