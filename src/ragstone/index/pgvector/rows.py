"""What replacements become in the tables, in the forms that COPY takes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ragstone.index import lexical
from ragstone.index.pgvector.filtering import digest
from ragstone.index.terms import Terms, terms
from ragstone.models import Point, Replacement, Scope

Words = npt.NDArray[np.int32]

_POSTING = np.dtype(
    [
        ("fields", ">i2"),
        *((f"{name}{part}", kind) for name, kind in (
            ("scope", ">i4"), ("word", ">i4"), ("point", ">i8"), ("weight", ">f4"),
        ) for part, kind in (("_size", ">i4"), ("", kind))),
    ]
)  # fmt: skip
"""A row of `postings` as COPY takes it: before each value its length in bytes."""

_SIGNATURE, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_INT4 = 23  # the type's number in PostgreSQL


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPoint:
    point: Point
    vector: bytes  # a halfvec
    words: Words
    weights: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDocument:
    """A document as it shall stand, without a point when it is gone."""

    scope: Scope
    id: UUID
    dimensions: int
    terms: Terms
    points: Sequence[PreparedPoint]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A document with the numbers that its rows are found by."""

    document: PreparedDocument
    scope: int
    number: int
    points: Sequence[int]


def prepare(replacements: Iterable[Replacement]) -> list[PreparedDocument]:
    """The newest state of each document."""
    newest = {(r.tenant, r.generation, r.fingerprint, r.document_id): r for r in replacements}
    return [
        PreparedDocument(
            scope=Scope(tenant=r.tenant, generation=r.generation, fingerprint=r.fingerprint),
            id=r.document_id,
            dimensions=r.dimensions,
            terms=terms(r.fields),
            points=[_prepare(point) for point in r.points],
        )
        for r in newest.values()
    ]


def gone(scope: Scope, document: UUID) -> PreparedDocument:
    """A document that is no more."""
    return PreparedDocument(scope=scope, id=document, dimensions=0, terms=Terms((), {}), points=())


def unit(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The vector with length 1; one without a direction stays as it is."""
    wide = vector.astype(np.float64)
    return (wide / (np.linalg.norm(wide) or 1.0)).astype(np.float32)


def signed(indices: Sequence[int]) -> Words:
    """Words are numbers of 32 bits without a sign, which PostgreSQL does not have."""
    return np.array(indices, dtype=np.uint32).view(np.int32)


def _prepare(point: Point) -> PreparedPoint:
    weights = lexical.document(point.text)
    half = unit(point.vector).astype(">f2")
    return PreparedPoint(
        point=point,
        vector=struct.pack(">HH", half.size, 0) + half.tobytes(),
        words=signed(weights.indices),
        weights=np.array(weights.values, dtype=np.float32),
    )


def number(
    documents: Iterable[PreparedDocument], scopes: Mapping[Scope, int], numbers: Iterator[int]
) -> list[Numbered]:
    """Give every row its number: as many are taken as there are documents and points."""
    return [
        Numbered(
            document=each, scope=scopes[each.scope], number=next(numbers), points=[next(numbers) for _ in each.points]
        )
        for each in documents
    ]


def documents(numbered: Iterable[Numbered]) -> Iterator[tuple[Any, ...]]:
    for n in numbered:
        digests = [digest(n.scope, term) for term in n.document.terms.words]
        yield n.number, n.scope, n.document.id, len(n.points), digests


def numbers(numbered: Iterable[Numbered]) -> Iterator[tuple[Any, ...]]:
    for n in numbered:
        for key, values in n.document.terms.numbers.items():
            for value in values:
                yield n.number, n.scope, key, value


def points(numbered: Iterable[Numbered]) -> Iterator[tuple[Any, ...]]:
    for n in numbered:
        for place, prepared in zip(n.points, n.document.points, strict=True):
            point = prepared.point
            words = _array(prepared.words)
            yield place, n.scope, n.number, point.chunk_id, point.hash, words, prepared.vector


def postings(numbered: Sequence[Numbered]) -> bytes:
    """All postings, ordered as their index is, for it to be written in one sweep."""
    each = [(n.scope, place, p) for n in numbered for place, p in zip(n.points, n.document.points, strict=True)]
    sizes = [len(prepared.words) for _, _, prepared in each]
    rows = np.zeros(sum(sizes), dtype=_POSTING)
    rows["fields"] = 4
    rows["scope"] = np.repeat(np.array([scope for scope, _, _ in each], dtype=np.int32), sizes)
    rows["point"] = np.repeat(np.array([place for _, place, _ in each], dtype=np.int64), sizes)
    if each:
        rows["word"] = np.concatenate([prepared.words for _, _, prepared in each])
        rows["weight"] = np.concatenate([prepared.weights for _, _, prepared in each])
    for name, size in (("scope", 4), ("word", 4), ("point", 8), ("weight", 4)):
        rows[f"{name}_size"] = size
    order = np.lexsort((rows["point"], rows["word"], rows["scope"]))
    return _SIGNATURE + rows[order].tobytes() + _END


def _array(words: Words) -> bytes:
    """An int4[] as PostgreSQL receives it."""
    if not len(words):
        return struct.pack(">iii", 0, 0, _INT4)
    items = np.empty((len(words), 2), dtype=">i4")
    items[:, 0], items[:, 1] = 4, words
    return struct.pack(">iiiii", 1, 0, _INT4, len(words), 1) + items.tobytes()
