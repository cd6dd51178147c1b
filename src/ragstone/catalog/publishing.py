"""Writing document versions: each whole, a batch in one transaction.

A batch is prepared before the transaction begins, so that bad input is told of with the document's name and locks
nothing. Statements are sent by the batch and rows by COPY: the number of round trips does not grow with the chunks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import numpy as np

from ragstone.catalog.appending import Attached, Entry, append
from ragstone.catalog.connections import Connection
from ragstone.catalog.fields import of_metadata
from ragstone.catalog.statements import statement
from ragstone.errors import BrokenDocument, GenerationDropped
from ragstone.models import Collection, Generation, Metadata, NewVersion, Vectors, document_id

_LONGEST_URI = 2000  # bytes; an entry of PostgreSQL's B-tree holds about 2,700

_SECTION = ("uuid", "int4", "int4", "int4", "text[]", "int4", "int4")
_CHUNK = ("uuid", "uuid", *("int4",) * 9, "text", "text", "bytea")
_VECTOR = ("bytea", "bytea")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A version that PostgreSQL will take: its metadata as JSON, and a hash and a vector for each chunk."""

    version: NewVersion
    metadata: str
    fields: Set[str]  # names of what its metadata can be filtered by
    hashes: Sequence[bytes]
    vectors: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbered:
    """A prepared version with its place in its document's history."""

    prepared: Prepared
    document: UUID
    number: int
    id: UUID


def version_id(document: UUID, generation: UUID, number: int) -> UUID:
    """The id of the number-th version of a document in a generation: the same in every rebuild of the catalog."""
    return uuid5(document, f"{generation}:{number}")


def chunk_id(version: UUID, ordinal: int) -> UUID:
    """The id of a version's chunk: the same in every rebuild of the catalog."""
    return uuid5(version, str(ordinal))


def text_hash(embedded: str) -> bytes:
    """SHA-256 of what the model saw (prefix and text): the name of its vector."""
    return hashlib.sha256(embedded.encode()).digest()


def vector_bytes(vectors: Vectors) -> list[bytes]:
    """Each row as float32, little-endian."""
    return [row.tobytes() for row in np.ascontiguousarray(vectors, dtype="<f4")]


# --- before the transaction -------------------------------------------------------------------------------------


def prepare(generation: Generation, versions: Sequence[NewVersion]) -> list[Prepared]:
    """Check a batch and hash its texts. Of two versions of one URI the later counts. Raises BrokenDocument."""
    latest = {version.uri: version for version in versions}
    return [_prepare(version, generation.fingerprint.dimensions) for version in latest.values()]


def _prepare(version: NewVersion, dimensions: int) -> Prepared:
    try:
        _check_strings(version)
        _check_sections(version)
        _check_vectors(version, dimensions)
        hashes = [text_hash(chunk.embedded) for chunk in version.chunks]
        metadata = _json(version.document.metadata)
    except (TypeError, ValueError) as error:
        raise BrokenDocument(
            f"{version.uri!r} cannot be stored: {error}",
            hint="this is a fault of the parser, chunker or source that made it; its old version keeps serving",
        ) from error
    vectors = dict(zip(hashes, vector_bytes(version.vectors), strict=True))
    fields = of_metadata(version.document.metadata).keys()
    return Prepared(version=version, metadata=metadata, fields=fields, hashes=hashes, vectors=vectors)


def _check_strings(version: NewVersion) -> None:
    document = version.document
    if len(version.uri.encode()) > _LONGEST_URI:
        raise ValueError(f"its URI is longer than {_LONGEST_URI} bytes")
    for text in (version.uri, version.source, version.revision, document.title, document.media_type, document.text):
        _check_string(text)
    for section in document.sections:
        _check_string("".join(section.path))
    for chunk in version.chunks:
        _check_string(chunk.embedded)


def _check_string(text: str) -> None:
    if "\0" in text:
        raise ValueError("there is a NUL character in it, which PostgreSQL does not store")
    text.encode()


def _json(metadata: Metadata) -> str:
    text = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False)
    _check_string(text.replace("\\\\", "").replace("\\u0000", "\0"))
    return text


def _check_sections(version: NewVersion) -> None:
    missing = {chunk.section for chunk in version.chunks} - {s.ordinal for s in version.document.sections}
    if missing:
        raise ValueError(f"its chunks name sections that are not there: {sorted(missing)}")


def _check_vectors(version: NewVersion, dimensions: int) -> None:
    expected = (len(version.chunks), dimensions)
    if version.vectors.shape != expected:
        raise ValueError(f"its vectors have the shape {version.vectors.shape}, not {expected}")
    if not np.isfinite(version.vectors).all():
        raise ValueError("there is a number in its vectors that is not finite")


# --- in the transaction -----------------------------------------------------------------------------------------


async def publish(
    connection: Connection, generation: Generation, batch: Sequence[Prepared], attached: Attached | None
) -> int:
    """Publish a batch in the tenant's transaction that `connection` is in. Gives the change-log position.

    Versions that come too late are left out; 0 when all do.
    """
    versions, moved = await _claim(connection, generation, batch)
    if not versions:
        return 0
    vectors = await _unknown_vectors(connection, generation, versions)
    await _replace_versions(connection, generation, versions)
    await _copy(connection, "copy_sections", _SECTION, _section_rows(versions))
    await _copy(connection, "copy_chunks", _CHUNK, _chunk_rows(versions))
    await _copy(connection, "copy_vectors", _VECTOR, vectors.items())
    parameters = {
        "tenant": generation.tenant,
        "collection": generation.collection,
        "generation": generation.id,
        "fingerprint": generation.fingerprint.digest,
        "uris": [version.prepared.version.uri for version in versions],
        "fields": sorted({name for version in versions for name in version.prepared.fields}),
    }
    async with connection.pipeline():
        for name in ("add_sections", "add_chunks", "add_vectors", "add_fields", "clear_failures"):
            await connection.execute(statement(name), parameters)
    entries = [Entry(generation=generation.id, document=each.document, version=each.id) for each in versions]
    entries += [entry for entry in await _standing(connection, moved) if entry.generation != generation.id]
    return await append(connection, generation.tenant, generation.collection, entries, attached)


async def delete(
    connection: Connection, collection: Collection, uris: Sequence[str], seen: int | None, attached: Attached | None
) -> int:
    """Delete documents from every generation, but for those seen later. Gives the position, 0 when nothing was there.

    What went wrong with the documents is forgotten as well.
    """
    parameters: dict[str, Any] = {"collection": collection.id, "uris": list(uris), "seen": seen}
    cursor = await connection.execute(statement("lock_deletable"), parameters)
    ids = [key for (key,) in await cursor.fetchall()]
    await connection.execute(statement("clear_failures"), parameters)
    await connection.execute(statement("mark_deleted"), {"ids": ids, "seen": seen})
    return await end(connection, collection, ids, None, attached)


async def claim(
    connection: Connection, collection: Collection, source: str, uris: Sequence[str], attached: Attached | None
) -> None:
    """Make documents a source's own; indexes are told, for a source is filtered by."""
    parameters: dict[str, Any] = {"collection": collection.id, "source": source, "uris": list(uris)}
    await connection.execute(statement("lock_documents"), parameters)
    cursor = await connection.execute(statement("claim"), parameters)
    entries = await _standing(connection, [key for (key,) in await cursor.fetchall()])
    await append(connection, collection.tenant, collection.id, entries, attached)


async def end(
    connection: Connection,
    collection: Collection,
    ids: Sequence[UUID],
    generation: UUID | None,
    attached: Attached | None,
) -> int:
    """End the current versions of documents, in one generation or in all. Gives the position, 0 without any."""
    parameters = {"ids": list(ids), "generation": generation}
    async with connection.pipeline():
        for name in ("delete_chunks", "delete_sections", "end_documents"):
            cursor = await connection.execute(statement(name), parameters)
    return await append(connection, collection.tenant, collection.id, _entries(await cursor.fetchall()), attached)


async def _standing(connection: Connection, ids: Sequence[UUID]) -> list[Entry]:
    """The current versions of documents, in all generations."""
    if not ids:
        return []
    cursor = await connection.execute(statement("current_versions"), {"ids": list(ids)})
    return _entries(await cursor.fetchall())


def _entries(rows: Iterable[tuple[Any, ...]]) -> list[Entry]:
    return [Entry(generation=generation, document=document, version=version) for generation, document, version in rows]


async def save_vectors(
    connection: Connection, generation: Generation, texts: Sequence[str], vectors: Sequence[bytes]
) -> None:
    """Store the vectors of texts, in the tenant's transaction that `connection` is in."""
    rows = dict(zip(map(text_hash, texts), vectors, strict=True))
    await _copy(connection, "copy_vectors", _VECTOR, rows.items())
    parameters = {"tenant": generation.tenant, "fingerprint": generation.fingerprint.digest}
    await connection.execute(statement("add_vectors"), parameters)


async def _claim(
    connection: Connection, generation: Generation, batch: Sequence[Prepared]
) -> tuple[list[_Numbered], list[UUID]]:
    """Lock the documents against other writers, and number the new versions of those not seen later.

    Gives those of them as well that were another source's before, or nobody's.
    """
    cursor = await connection.execute(statement("collection_of_generation"), {"generation": generation.id})
    row = await cursor.fetchone()
    if row is None:
        raise GenerationDropped(f"the tenant {generation.tenant!r} has no generation {generation.id} (any more)")
    by_id = {document_id(generation.tenant, row[0], prepared.version.uri): prepared for prepared in batch}
    ids = sorted(by_id)
    versions = [by_id[key].version for key in ids]
    parameters = {
        "tenant": generation.tenant,
        "collection": generation.collection,
        "generation": generation.id,
        "ids": ids,
        "uris": [version.uri for version in versions],
        "sources": [version.source for version in versions],
        "seen": [version.seen for version in versions],
    }
    async with connection.pipeline():
        await connection.execute(statement("keep_vectors"))
        known = await connection.execute(statement("lock_sources"), parameters)
        claimed = await connection.execute(statement("claim_documents"), parameters)
        cursor = await connection.execute(statement("last_numbers"), parameters)
    timely = {key for (key,) in await claimed.fetchall()}
    last: dict[UUID, int] = dict(await cursor.fetchall())
    before: dict[UUID, str] = dict(await known.fetchall())
    moved = [key for key in timely if before.get(key) != by_id[key].version.source]
    return [_numbered(by_id[key], key, generation.id, last.get(key, 0) + 1) for key in ids if key in timely], moved


def _numbered(prepared: Prepared, document: UUID, generation: UUID, number: int) -> _Numbered:
    return _Numbered(prepared=prepared, document=document, number=number, id=version_id(document, generation, number))


async def _unknown_vectors(
    connection: Connection, generation: Generation, versions: Sequence[_Numbered]
) -> dict[bytes, bytes]:
    """The vectors that are not stored yet: only these travel."""
    vectors = {digest: vector for version in versions for digest, vector in version.prepared.vectors.items()}
    parameters = {"fingerprint": generation.fingerprint.digest, "hashes": list(vectors)}
    cursor = await connection.execute(statement("known_hashes"), parameters, binary=True)
    for (known,) in await cursor.fetchall():
        del vectors[known]
    return vectors


async def _replace_versions(connection: Connection, generation: Generation, versions: Sequence[_Numbered]) -> None:
    """End the current versions, text and all, and add the new ones."""
    parameters = {"generation": generation.id, "ids": [version.document for version in versions]}
    rows = [_version_row(generation, version) for version in versions]
    async with connection.pipeline(), connection.cursor() as cursor:
        for name in ("delete_chunks", "delete_sections", "end_versions"):
            await cursor.execute(statement(name), parameters)
        await cursor.executemany(statement("add_version"), rows)


def _version_row(generation: Generation, numbered: _Numbered) -> dict[str, Any]:
    version = numbered.prepared.version
    return {
        "tenant": generation.tenant,
        "id": numbered.id,
        "document": numbered.document,
        "generation": generation.id,
        "number": numbered.number,
        "revision": version.revision,
        "content_hash": version.content_hash,
        "title": version.document.title,
        "media_type": version.document.media_type,
        "metadata": numbered.prepared.metadata,
        "text": version.document.text,
        "page_starts": list(version.document.page_starts),
        "modified_at": version.modified_at,
    }


def _section_rows(versions: Sequence[_Numbered]) -> Iterable[tuple[Any, ...]]:
    for version in versions:
        for s in version.prepared.version.document.sections:
            yield version.id, s.ordinal, s.parent, s.level, list(s.path), s.start, s.end


def _chunk_rows(versions: Sequence[_Numbered]) -> Iterable[tuple[Any, ...]]:
    for version in versions:
        prepared = version.prepared
        for c, digest in zip(prepared.version.chunks, prepared.hashes, strict=True):
            key = chunk_id(version.id, c.ordinal)
            places = *(c.pages or (None, None)), *(c.parent or (None, None))
            yield key, version.id, c.ordinal, c.section, c.start, c.end, *places, c.tokens, c.text, c.prefix, digest


async def _copy(connection: Connection, name: str, types: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    async with connection.cursor() as cursor, cursor.copy(statement(name)) as copy:
        copy.set_types(types)
        for row in rows:
            await copy.write_row(row)
