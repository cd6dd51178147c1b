"""What goes over the socket: frames of a JSON header and raw bytes (vectors, hits).

4 bytes  length of the header        both big-endian
4 bytes  length of the body
header   JSON, an object
body     float32 vectors row after row, little-endian; or hits or entries, see `pack_hits` and `pack_entries`
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ragstone.index.filters import And, Exists, Filter, In, Not, Or, Range
from ragstone.models import Entry, Hit, Point, Replacement, Scope

Header = dict[str, Any]
Frame = tuple[Header, bytes]

_LENGTHS = struct.Struct(">II")
_ENTRY = struct.Struct("16s16s16s")
_HIT = struct.Struct("<16sff")
_FLOATS = np.dtype("<f4")


async def read(reader: asyncio.StreamReader) -> Frame:
    """The next frame. Raises asyncio.IncompleteReadError at the end of the stream."""
    header, body = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    return json.loads(await reader.readexactly(header)), await reader.readexactly(body)


def frame(header: Header, body: bytes = b"") -> bytes:
    encoded = json.dumps(header).encode("ascii")
    return _LENGTHS.pack(len(encoded), len(body)) + encoded + body


def pack_scope(scope: Scope) -> list[str]:
    return [scope.tenant, str(scope.generation), scope.fingerprint]


def unpack_scope(packed: Sequence[str]) -> Scope:
    tenant, generation, fingerprint = packed
    return Scope(tenant=tenant, generation=UUID(generation), fingerprint=fingerprint)


def pack_vector(vector: npt.NDArray[np.float32] | None) -> bytes:
    """No vector is no bytes."""
    return b"" if vector is None else vector.astype(_FLOATS).tobytes()


def unpack_vector(body: bytes) -> npt.NDArray[np.float32] | None:
    return np.frombuffer(body, _FLOATS) if body else None


def pack_hits(hits: Sequence[Hit]) -> bytes:
    """24 bytes a hit: id, cosine, BM25. A score that was not asked for is NaN."""
    return b"".join(_HIT.pack(hit.chunk_id.bytes, _packed(hit.cosine), _packed(hit.bm25)) for hit in hits)


def unpack_hits(body: bytes) -> list[Hit]:
    return [
        Hit(chunk_id=UUID(bytes=chunk_id), cosine=_unpacked(cosine), bm25=_unpacked(bm25))
        for chunk_id, cosine, bm25 in _HIT.iter_unpack(body)
    ]


def pack_entries(entries: Sequence[Entry]) -> bytes:
    """48 bytes an entry: id, document, hash."""
    return b"".join(_ENTRY.pack(e.chunk_id.bytes, e.document_id.bytes, e.hash) for e in entries)


def unpack_entries(body: bytes) -> list[Entry]:
    return [
        Entry(chunk_id=UUID(bytes=chunk_id), document_id=UUID(bytes=document_id), hash=digest)
        for chunk_id, document_id, digest in _ENTRY.iter_unpack(body)
    ]


def pack_filter(where: Filter | None) -> Any:
    """The name of each node and what it holds."""
    match where:
        case None:
            return None
        case In():
            return ["in", where.field, where.values]
        case Exists():
            return ["exists", where.field]
        case Range():
            return ["range", where.field, where.dates, where.gt, where.gte, where.lt, where.lte]
        case And():
            return ["and", [pack_filter(part) for part in where.parts]]
        case Or():
            return ["or", [pack_filter(part) for part in where.parts]]
        case Not():
            return ["not", pack_filter(where.part)]


def unpack_filter(packed: Any) -> Filter | None:
    return None if packed is None else _filter(packed)


def _filter(packed: Sequence[Any]) -> Filter:
    match packed:
        case ["in", field, values]:
            return In(field, tuple(values))
        case ["exists", field]:
            return Exists(field)
        case ["range", field, dates, gt, gte, lt, lte]:
            return Range(field, dates, gt=gt, gte=gte, lt=lt, lte=lte)
        case ["and", parts]:
            return And(tuple(_filter(part) for part in parts))
        case ["or", parts]:
            return Or(tuple(_filter(part) for part in parts))
        case ["not", part]:
            return Not(_filter(part))
    raise ValueError(f"no filter: {packed!r}")


def pack_replacements(replacements: Sequence[Replacement]) -> tuple[list[Header], bytes]:
    """For each an object, and all vectors one after the other."""
    headers = [
        {
            "tenant": r.tenant,
            "collection": str(r.collection),
            "generation": str(r.generation),
            "fingerprint": r.fingerprint,
            "dimensions": r.dimensions,
            "document": str(r.document_id),
            "fields": dict(r.fields),
            "points": [[str(point.chunk_id), point.text, point.hash.hex()] for point in r.points],
        }
        for r in replacements
    ]
    return headers, b"".join(pack_vector(point.vector) for r in replacements for point in r.points)


def unpack_replacements(headers: Sequence[Header], body: bytes) -> list[Replacement]:
    floats = np.frombuffer(body, _FLOATS)
    replacements, start = [], 0
    for header in headers:
        size = header["dimensions"]
        end = start + size * len(header["points"])
        rows = zip(header["points"], floats[start:end].reshape(-1, size), strict=True)
        points = tuple(
            Point(chunk_id=UUID(chunk_id), text=text, vector=row, hash=bytes.fromhex(digest))
            for (chunk_id, text, digest), row in rows
        )
        replacements.append(_replacement(header, points))
        start = end
    return replacements


def _replacement(header: Header, points: tuple[Point, ...]) -> Replacement:
    return Replacement(
        tenant=header["tenant"],
        collection=UUID(header["collection"]),
        generation=UUID(header["generation"]),
        fingerprint=header["fingerprint"],
        dimensions=header["dimensions"],
        document_id=UUID(header["document"]),
        points=points,
        fields={name: tuple(values) for name, values in header["fields"].items()},
    )


def _packed(score: float | None) -> float:
    return math.nan if score is None else score


def _unpacked(score: float) -> float | None:
    return None if math.isnan(score) else score
