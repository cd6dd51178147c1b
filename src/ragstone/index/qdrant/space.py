"""One Qdrant collection: all points of one vector space, dense and by words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import UUID

from qdrant_client import AsyncQdrantClient
from qdrant_client import models as q

from ragstone.errors import IndexFailure, WrongDimensions
from ragstone.index import lexical
from ragstone.index.filters import Filter
from ragstone.index.qdrant.conditions import DOCUMENT, HASH, SCOPE, STEMS, WORDS, among, inside, of_documents, within
from ragstone.index.qdrant.rarity import stems
from ragstone.index.qdrant.server import SLOW, require_completed
from ragstone.index.terms import Terms, terms
from ragstone.models import Entry, Point, Replacement

Page: TypeAlias = tuple[list[Entry], q.ExtendedPointId | None]

BASE = frozenset((SCOPE, DOCUMENT, WORDS, STEMS))  # payload keys that every space may have an index for
DENSE, SPARSE = "dense", "bm25"

SLICE = 128
"""Points in a request: of 3,072 dimensions about 8 MB; a server takes 32."""

PAGE = 500  # points in an answer to a scan
SCAN_BELOW = 3_000  # points of a scope up to which scanning them all is as quick as a graph
MOST_NUMBERS = 64  # keys of numbers that get an index; ranges over others are right too, but slower
MOST_SCOPES = 1_000_000

ORDERING = q.WriteOrdering.MEDIUM  # a write that is repeated after a time-out is not overtaken by its first try

Quantization = Literal["none", "scalar", "binary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How new collections are laid out; those that are there stay as they are."""

    shards: int = 1
    replicas: int = 1
    write_consistency: int = 1
    quantization: Quantization = "scalar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A collection that is there. Its methods raise what the client raises."""

    client: AsyncQdrantClient
    name: str
    dimensions: int
    tallied: bool  # it has several shards; see ragstone.index.qdrant.rarity
    binary: bool  # its quantised vectors have one bit a dimension
    indexed: set[str] = field(default_factory=set)  # payload keys

    @classmethod
    async def find(cls, client: AsyncQdrantClient, name: str) -> Space | None:
        if not await client.collection_exists(name):
            return None
        info = await client.get_collection(name)
        vectors, notes = info.config.params.vectors, info.config.metadata or {}
        if not isinstance(vectors, dict) or DENSE not in vectors or "tallied" not in notes:
            raise IndexFailure(f"the Qdrant collection {name!r} was not made by Ragstone", hint="rename or delete it")
        return cls(
            client=client,
            name=name,
            dimensions=vectors[DENSE].size,
            tallied=notes["tallied"],
            binary=isinstance(info.config.quantization_config, q.BinaryQuantization),
            indexed=set(info.payload_schema),
        )

    @staticmethod
    async def create(client: AsyncQdrantClient, name: str, dimensions: int, layout: Layout) -> None:
        tallied = layout.shards > 1
        await client.create_collection(
            name,
            vectors_config={DENSE: q.VectorParams(size=dimensions, distance=q.Distance.COSINE, memory=q.Memory.CACHED)},
            sparse_vectors_config={SPARSE: q.SparseVectorParams(modifier=None if tallied else q.Modifier.IDF)},
            shard_number=layout.shards,
            replication_factor=layout.replicas,
            write_consistency_factor=layout.write_consistency,
            hnsw_config=_graphs(dimensions),
            quantization_config=_quantized(layout.quantization),
            metadata={"tallied": tallied},
            timeout=SLOW,
        )

    async def index_payload(self) -> None:
        """Make what searches and deletions need, where it is not there yet: a crash may have come in between."""
        wanted: dict[str, q.PayloadSchemaParams] = {
            SCOPE: q.KeywordIndexParams(type=q.KeywordIndexType.KEYWORD, is_tenant=True),
            DOCUMENT: q.UuidIndexParams(type=q.UuidIndexType.UUID, enable_hnsw=False),
            WORDS: q.KeywordIndexParams(type=q.KeywordIndexType.KEYWORD, enable_hnsw=False),
        }
        if self.tallied:
            wanted[STEMS] = q.IntegerIndexParams(
                type=q.IntegerIndexType.INTEGER, lookup=True, range=False, memory=q.Memory.CACHED, enable_hnsw=False
            )
        for key in wanted.keys() - self.indexed:
            await self.client.create_payload_index(self.name, key, wanted[key], wait=True, timeout=SLOW)
            self.indexed.add(key)

    async def replace(self, scope: str, replacements: Sequence[Replacement]) -> None:
        """Make the points of some documents of one scope be these; each document is named once."""
        for rows, whole in _slices(replacements):
            await self._index_numbers(rows)
            points = await asyncio.to_thread(self._points, scope, rows)
            operations: list[q.UpdateOperation] = []
            if points:
                operations.append(q.UpsertOperation(upsert=q.PointsList(points=points)))
            if whole:
                operations.append(q.DeleteOperation(delete=q.FilterSelector(filter=_leftovers(scope, whole))))
            require_completed(
                await self.client.batch_update_points(self.name, operations, wait=True, ordering=ORDERING, timeout=SLOW)
            )

    def _points(self, scope: str, rows: Sequence[_Row]) -> list[q.PointStruct]:
        return [self._point(scope, row) for row in rows]

    def _point(self, scope: str, row: _Row) -> q.PointStruct:
        weights = lexical.document(row.point.text)
        payload: dict[str, Any] = {
            SCOPE: scope,
            DOCUMENT: str(row.document),
            HASH: row.point.hash.hex(),
            WORDS: row.terms.words,
            **row.terms.numbers,
        }
        if self.tallied:
            payload[STEMS] = stems(scope, weights.indices)
        sparse = q.SparseVector(indices=weights.indices, values=weights.values)
        vectors = {DENSE: row.point.vector.tolist(), SPARSE: sparse}
        return q.PointStruct(id=str(row.point.chunk_id), vector=vectors, payload=payload)

    async def _index_numbers(self, rows: Sequence[_Row]) -> None:
        """Not waited for: on a large collection it takes minutes, and a range is right without it."""
        for key in sorted({key for row in rows for key in row.terms.numbers} - self.indexed):
            if len(self.indexed - BASE) < MOST_NUMBERS:
                schema = q.FloatIndexParams(type=q.FloatIndexType.FLOAT, enable_hnsw=False)
                await self.client.create_payload_index(self.name, key, schema, wait=False)
                self.indexed.add(key)

    async def count(self, scope: str, where: Filter | None) -> int:
        return (await self.client.count(self.name, inside(scope, where), exact=True, timeout=SLOW)).count

    async def page(self, scope: str, start: q.ExtendedPointId | None) -> Page:
        """Points of a scope in the order of their ids, from one on; and the first of the next page, if there is one."""
        records, following = await self.client.scroll(
            self.name, inside(scope), limit=PAGE, offset=start, with_payload=[DOCUMENT, HASH], timeout=SLOW
        )
        return [_entry(record) for record in records], following

    async def scopes(self) -> list[str]:
        found = await self.client.facet(self.name, SCOPE, limit=MOST_SCOPES, timeout=SLOW)
        return [str(hit.value) for hit in found.hits if hit.count]

    async def remove(self, scope: str) -> bool:
        """Let go of a scope; and of the collection, when that was its last: then True."""
        gone = q.FilterSelector(filter=inside(scope))
        result = await self.client.delete(self.name, gone, wait=True, ordering=ORDERING, timeout=SLOW)
        require_completed([result])
        records, _ = await self.client.scroll(self.name, limit=1, with_payload=False)
        if not records:
            await self.client.delete_collection(self.name)
        return not records


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A point to write, and what it takes from its document."""

    point: Point
    document: UUID
    terms: Terms


def _slices(replacements: Sequence[Replacement]) -> Iterator[tuple[list[_Row], list[Replacement]]]:
    """Points to write, SLICE at most, with the documents that are whole once they are written."""
    rows: list[_Row] = []
    whole: list[Replacement] = []
    for replacement in replacements:
        stored = terms(replacement.fields)
        for point in replacement.points:
            rows.append(_Row(point=point, document=replacement.document_id, terms=stored))
            if len(rows) == SLICE:
                yield rows, whole
                rows, whole = [], []
        whole.append(replacement)
    if rows or whole:
        yield rows, whole


def _leftovers(scope: str, whole: Sequence[Replacement]) -> q.Filter:
    """What is stored of the documents and is not of their present points."""
    kept = [point.chunk_id for replacement in whole for point in replacement.points]
    documents = of_documents(replacement.document_id for replacement in whole)
    return q.Filter(must=[within(scope), documents], must_not=[among(kept)])


def _entry(record: q.Record) -> Entry:
    payload = record.payload or {}
    return Entry(chunk_id=UUID(str(record.id)), document_id=UUID(payload[DOCUMENT]), hash=bytes.fromhex(payload[HASH]))


def require_length(wanted: int, got: int) -> None:
    """Raises WrongDimensions for a vector of another length than those of its space."""
    if got != wanted:
        hint = "the embedding settings and the generation do not belong together"
        raise WrongDimensions(f"a vector of {got} numbers does not belong to a space of {wanted} dimensions", hint=hint)


def _graphs(dimensions: int) -> q.HnswConfigDiff:
    """m = 0 leaves the graphs to the tenant index: each scope gets its own, so a filter by it costs no recall."""
    kilobytes = SCAN_BELOW * dimensions * 4 // 1024
    return q.HnswConfigDiff(m=0, payload_m=16, ef_construct=128, full_scan_threshold=max(10, kilobytes))


def _quantized(how: Quantization) -> q.QuantizationConfig | None:
    match how:
        case "scalar":
            scalar = q.ScalarQuantizationConfig(type=q.ScalarType.INT8, quantile=0.99, memory=q.Memory.PINNED)
            return q.ScalarQuantization(scalar=scalar)
        case "binary":
            return q.BinaryQuantization(binary=q.BinaryQuantizationConfig(memory=q.Memory.PINNED))
        case "none":
            return None
