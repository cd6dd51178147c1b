"""Writing documents: their old rows go and the new ones come, in the transaction that the connection is in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragstone.catalog.connections import Connection
from ragstone.errors import WrongDimensions
from ragstone.index.pgvector import rows
from ragstone.index.pgvector.rows import PreparedDocument
from ragstone.index.pgvector.statements import statement
from ragstone.models import Scope

_DOCUMENT = ("int8", "int4", "uuid", "int4", "int8[]")
_NUMBER = ("int8", "int4", "text", "float8")
_POINT = ("int8", "int4", "int8", "uuid", *("bytea",) * 3)  # the last two are sent in the form that they have there


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How many points a scope gained and lost."""

    scope: int
    added: int
    removed: int


async def write(connection: Connection, documents: Sequence[PreparedDocument]) -> list[Change]:
    """Make the rows of documents what they should be. Raises WrongDimensions, having changed nothing.

    `count` is still to be called, as late as can be: it makes other writers of the same scopes wait.
    """
    if not documents:
        return []
    present = [document for document in documents if document.points]
    await _check(connection, present)
    scopes = await _scopes(connection, documents, present)
    removed = await _remove(connection, documents, scopes)
    await _add(connection, present, scopes)
    added = dict.fromkeys(removed, 0)
    for document in present:
        number = scopes[document.scope]
        added[number] = added.get(number, 0) + len(document.points)
    return [Change(scope=s, added=added[s], removed=removed.get(s, 0)) for s in sorted(added)]


async def count(connection: Connection, changes: Iterable[Change]) -> None:
    """Bring the scopes' counts up to date."""
    changes = list(changes)
    if changes:
        parameters = {
            "scopes": [change.scope for change in changes],
            "added": [change.added for change in changes],
            "removed": [change.removed for change in changes],
        }
        await connection.execute(statement("count_points"), parameters)


async def _check(connection: Connection, present: Sequence[PreparedDocument]) -> None:
    """All vectors of a space have one length."""
    parameters = {"fingerprints": list({document.scope.fingerprint for document in present})}
    cursor = await connection.execute(statement("spaces"), parameters)
    known: dict[str, int] = dict(await cursor.fetchall())
    for document in present:
        wanted = known.setdefault(document.scope.fingerprint, document.dimensions)
        for size in (document.dimensions, *(p.point.vector.size for p in document.points)):
            if size != wanted:
                raise wrong_dimensions(size, wanted)


def wrong_dimensions(size: int, wanted: int) -> WrongDimensions:
    return WrongDimensions(
        f"a vector has {size} numbers, those of its space have {wanted}",
        hint="vectors of another length belong in a space, and so in a generation, of their own",
    )


async def _scopes(
    connection: Connection, documents: Sequence[PreparedDocument], present: Sequence[PreparedDocument]
) -> Mapping[Scope, int]:
    """The numbers of the documents' scopes; those of documents that are there are made."""
    dimensions = {document.scope: document.dimensions for document in present}
    # In one order, for two writers that make the same ones must not wait for each other.
    new = sorted(dimensions, key=lambda scope: (scope.tenant, scope.generation, scope.fingerprint))
    parameters = {**_columns(new), "dimensions": [dimensions[scope] for scope in new]}
    if new:
        await connection.execute(statement("add_scopes"), parameters)
    named = list({document.scope for document in documents})
    cursor = await connection.execute(statement("numbers_of_scopes"), _columns(named))
    return {Scope(tenant=t, generation=g, fingerprint=f): number for t, g, f, number in await cursor.fetchall()}


def _columns(scopes: Sequence[Scope]) -> dict[str, list[Any]]:
    return {
        "tenants": [scope.tenant for scope in scopes],
        "generations": [scope.generation for scope in scopes],
        "fingerprints": [scope.fingerprint for scope in scopes],
    }


async def _remove(
    connection: Connection, documents: Sequence[PreparedDocument], scopes: Mapping[Scope, int]
) -> dict[int, int]:
    """Delete all rows of the documents; gives how many points each scope lost."""
    held = [document for document in documents if document.scope in scopes]
    parameters = {"scopes": [scopes[document.scope] for document in held], "ids": [document.id for document in held]}
    cursor = await connection.execute(statement("remove"), parameters)
    return dict(await cursor.fetchall())


async def _add(connection: Connection, present: Sequence[PreparedDocument], scopes: Mapping[Scope, int]) -> None:
    if not present:
        return
    wanted = len(present) + sum(len(document.points) for document in present)
    cursor = await connection.execute(statement("numbers_of_rows"), {"count": wanted})
    numbered = rows.number(present, scopes, _first(await cursor.fetchall()))
    await _copy(connection, "copy_documents", _DOCUMENT, rows.documents(numbered))
    await _copy(connection, "copy_numbers", _NUMBER, rows.numbers(numbered))
    await _copy(connection, "copy_points", _POINT, rows.points(numbered))
    async with connection.cursor() as cursor, cursor.copy(statement("copy_postings")) as copy:
        await copy.write(rows.postings(numbered))


def _first(fetched: Iterable[tuple[Any, ...]]) -> Iterator[int]:
    return (number for (number,) in fetched)


async def _copy(connection: Connection, name: str, types: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    async with connection.cursor() as cursor, cursor.copy(statement(name)) as copy:
        copy.set_types(types)
        for line in lines:
            await copy.write_row(line)
