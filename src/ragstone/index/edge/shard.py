"""One shard of Qdrant Edge: all points of one vector space, dense and by words."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import numpy as np
import numpy.typing as npt
import qdrant_edge as qdrant

from ragstone.errors import IndexFailure
from ragstone.index import lexical
from ragstone.index.edge.faults import engine_errors
from ragstone.index.edge.filtering import WORDS, Condition, among, has
from ragstone.index.terms import Terms
from ragstone.models import Entry, Hit, Point

Scores = dict[UUID, float]
DENSE, SPARSE = "dense", "bm25"
SCOPE, DOCUMENT, HASH = "scope", "document", "hash"

SCAN_POINTS, SCAN_KIB = 10_000, 15_000
"""Points, and KiB of float32 vectors, up to which all that pass a filter (their scope included) are compared: it finds
every one, and is as quick as a graph. The smaller of the two counts: they meet at 384 dimensions."""

# The graph is left to the scope (m = 0 below): each gets its own, as good as if it were alone.
_INDEXES: dict[str, qdrant.KeywordIndexParams | qdrant.UuidIndexParams] = {
    SCOPE: qdrant.KeywordIndexParams(is_tenant=True, enable_hnsw=True),
    DOCUMENT: qdrant.UuidIndexParams(enable_hnsw=False),
    WORDS: qdrant.KeywordIndexParams(enable_hnsw=False),
}

OVERSAMPLING = 2.0
"""Candidates per wanted hit that are rescored with the unquantised vectors."""

PAGE = 500
"""Points read at once: searches wait for no more than that, a few milliseconds."""


class Shard:
    """An open shard. Calls block the whole interpreter; nothing is durable before `flush`. Raises IndexFailure."""

    def __init__(self, engine: qdrant.EdgeShard, folder: Path) -> None:
        self._engine = engine
        self.folder = folder
        self.indexed = frozenset(engine.info().payload_schema)  # payload keys

    @classmethod
    def create(cls, folder: Path, dimensions: int) -> Shard:
        folder.mkdir(mode=0o700)
        try:
            with engine_errors():
                engine = qdrant.EdgeShard.create(str(folder), _config(dimensions))
                for key, index in _INDEXES.items():
                    engine.update(qdrant.UpdateOperation.create_field_index(key, index))
                engine.flush()
                return cls(engine, folder)
        except IndexFailure:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @classmethod
    def load(cls, folder: Path) -> Shard:
        with engine_errors():
            return cls(qdrant.EdgeShard.load(str(folder)), folder)

    def index_numbers(self, keys: Iterable[str]) -> None:
        """Give ranges of some number keys an index: it reads the payload of every point, about 11 µs each."""
        with engine_errors():
            for key in set(keys) - self.indexed:
                number = qdrant.FloatIndexParams(enable_hnsw=False)
                self._engine.update(qdrant.UpdateOperation.create_field_index(key, number))
            self.indexed = frozenset(self._engine.info().payload_schema)

    def upsert(self, scope: str, document: UUID, stored: Terms, points: Iterable[Point]) -> None:
        payload = {SCOPE: scope, DOCUMENT: str(document), WORDS: list(stored.words), **stored.numbers}
        with engine_errors():
            self._engine.update(qdrant.UpdateOperation.upsert_points([_row(point, payload) for point in points]))

    def remove(self, scope: str, documents: Iterable[UUID], keep: Iterable[UUID] = ()) -> None:
        """Delete the points of some documents, except those to keep."""
        named = has(DOCUMENT, [str(document) for document in documents])
        doomed = qdrant.Filter(must=[_within(scope), named], must_not=[among(keep)])
        with engine_errors():
            self._engine.update(qdrant.UpdateOperation.delete_points_by_filter(doomed))

    def remove_scope(self, scope: str) -> Iterator[int]:
        """Delete the points of a scope, a page at a time: gives the size of each."""
        request = qdrant.ScrollRequest(limit=PAGE, filter=_filter(scope), with_payload=False)
        while True:
            with engine_errors():
                records, _ = self._engine.scroll(request)
                if not records:
                    return
                self._engine.update(qdrant.UpdateOperation.delete_points([record.id for record in records]))
            yield len(records)

    def copy(self, scope: str, document: UUID | None, into: Shard) -> None:
        """Make another shard hold what this one holds of a document, or of the whole scope."""
        if document is None:
            for _ in into.remove_scope(scope):
                pass
        else:
            into.remove(scope, [document])
        own = None if document is None else has(DOCUMENT, [str(document)])
        into.index_numbers(self.indexed - into.indexed)
        with engine_errors():
            for records in self._pages(_filter(scope, own), with_payload=True, with_vector=True):
                rows = [qdrant.Point(r.id, r.vector, r.payload) for r in records if r.vector is not None]
                into._engine.update(qdrant.UpdateOperation.upsert_points(rows))

    def search(
        self,
        scope: str,
        *,
        vector: npt.NDArray[np.float32] | None,
        text: str | None,
        limit: int,
        where: Condition | None,
        ef: int,
        exact: bool,
    ) -> list[Hit]:
        """See Index.search. Three calls at most: dense; words, with the words of the dense hits; dense of the rest."""
        if limit < 1:
            return []
        with engine_errors():
            search = _Search(engine=self._engine, scope=scope, where=where, limit=limit, ef=ef, exact=exact)
            cosine = {} if vector is None else search.nearest(vector)
            bm25 = {} if text is None else search.best(text, also=cosine.keys())
            if vector is not None and (rest := bm25.keys() - cosine.keys()):
                cosine |= search.cosines(vector, rest)
        return [
            Hit(
                chunk_id=chunk_id,
                cosine=None if vector is None else cosine[chunk_id],
                bm25=None if text is None else bm25.get(chunk_id, 0.0),
            )
            for chunk_id in cosine.keys() | bm25.keys()
        ]

    def count(self, scope: str, where: Condition | None = None) -> int:
        with engine_errors():
            return self._engine.count(qdrant.CountRequest(exact=True, filter=_filter(scope, where)))

    def scan(self, scope: str, start: UUID | None) -> tuple[list[Entry], UUID | None]:
        """A page of the scope's points in the order of their ids, and the first id of the next one."""
        with engine_errors():
            request = qdrant.ScrollRequest(
                offset=start, limit=PAGE, filter=_filter(scope), with_payload=[DOCUMENT, HASH], with_vector=False
            )
            records, after = self._engine.scroll(request)
        return [_entry(record) for record in records], cast("UUID | None", after)

    def scopes(self) -> list[str]:
        """Every scope that holds a point."""
        with engine_errors():
            found = self._engine.facet(qdrant.FacetRequest(SCOPE, limit=2**31, exact=True))
            return [str(hit.value) for hit in found if hit.count]

    def size(self) -> int:
        with engine_errors():
            return self._engine.info().points_count

    def flush(self) -> None:
        with engine_errors():
            self._engine.flush()

    def optimize(self) -> None:
        """Build the graphs and drop what was deleted: seconds to minutes, in which the interpreter stands still."""
        with engine_errors():
            self._engine.optimize()

    def close(self) -> None:
        with engine_errors():
            self._engine.close()

    def _pages(self, where: qdrant.Filter, *, with_payload: bool, with_vector: bool) -> Iterator[list[qdrant.Record]]:
        offset: qdrant.PointId | None = None
        while True:
            request = qdrant.ScrollRequest(
                offset=offset, limit=PAGE, filter=where, with_payload=with_payload, with_vector=with_vector
            )
            records, offset = self._engine.scroll(request)
            yield records
            if offset is None:
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """One search of one scope, call by call."""

    engine: qdrant.EdgeShard
    scope: str
    where: Condition | None
    limit: int
    ef: int
    exact: bool

    def nearest(self, vector: npt.NDArray[np.float32]) -> Scores:
        """The nearest by cosine.

        With a filter by ACORN, which looks past points that do not pass it. Without, the engine finds nothing at all
        where the graph's few points of entry do not pass, and too little behind them (recall .6 at a tenth).
        """
        params = qdrant.SearchParams(
            hnsw_ef=self.ef,
            exact=self.exact,
            acorn=None if self.where is None else qdrant.AcornSearchParams(enable=True, max_selectivity=1.0),
            quantization=qdrant.QuantizationSearchParams(ignore=self.exact, rescore=True, oversampling=OVERSAMPLING),
        )
        return self._dense(vector, self.limit, _filter(self.scope, self.where), params)

    def cosines(self, vector: npt.NDArray[np.float32], ids: set[UUID]) -> Scores:
        """Those of some points of the scope."""
        return self._dense(vector, len(ids), _filter(self.scope, among(ids)), qdrant.SearchParams(exact=True))

    def _dense(
        self, vector: npt.NDArray[np.float32], limit: int, within: qdrant.Filter, params: qdrant.SearchParams
    ) -> Scores:
        query = qdrant.Query.Nearest(vector.tolist(), using=DENSE)
        return _scores(self.engine.query(qdrant.QueryRequest(limit, query=query, filter=within, params=params)))

    def best(self, text: str, also: Iterable[UUID]) -> Scores:
        """The best by BM25 and, of the points in `also`, those with a word of the text.

        Both in one batch: the engine counts the scope's words once for it, which is most of the cost.
        """
        words = lexical.query(text)
        given = set(also)
        if not words.indices:
            return {}
        requests = [self._words(words, self.limit, self.where)]
        if given:
            requests.append(self._words(words, len(given), among(given)))
        scores: Scores = {}
        for found in self.engine.query_batch(qdrant.QueryBatchRequest(requests)):
            scores |= _scores(found)
        return scores

    def _words(self, words: qdrant.SparseVector, limit: int, where: Condition | None) -> qdrant.QueryRequest:
        """Rarity is counted within the scope: one tenant's words never shape another's scores."""
        return qdrant.QueryRequest(
            limit,
            query=qdrant.Query.Nearest(words, using=SPARSE),
            filter=_filter(self.scope, where),
            params=qdrant.SearchParams(idf=qdrant.IdfParams(_filter(self.scope))),
        )


def _within(scope: str) -> Condition:
    return qdrant.FieldCondition(SCOPE, qdrant.MatchValue(scope))


def _filter(scope: str, where: Condition | None = None) -> qdrant.Filter:
    return qdrant.Filter(must=[_within(scope)] if where is None else [_within(scope), where])


def _row(point: Point, payload: Mapping[str, Any]) -> qdrant.Point:
    vectors = {DENSE: point.vector.tolist(), SPARSE: lexical.document(point.text)}
    return qdrant.Point(point.chunk_id, vectors, {**payload, HASH: point.hash.hex()})


def _entry(record: qdrant.Record) -> Entry:
    payload = cast("dict[str, str]", record.payload)
    return Entry(chunk_id=cast(UUID, record.id), document_id=UUID(payload[DOCUMENT]), hash=bytes.fromhex(payload[HASH]))


def _scores(found: Sequence[qdrant.ScoredPoint]) -> Scores:
    return {cast(UUID, point.id): point.score for point in found}  # every id is one that `upsert` gave


def _config(dimensions: int) -> qdrant.EdgeConfig:
    """Scanned vectors stay in memory as int8; the originals, for rescoring, in the page cache."""
    scanned = min(SCAN_POINTS * dimensions * 4 // 1024, SCAN_KIB)
    return qdrant.EdgeConfig(
        vectors={DENSE: qdrant.EdgeVectorParams(dimensions, qdrant.Distance.Cosine, memory=qdrant.Memory.Cached)},
        sparse_vectors={SPARSE: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
        hnsw_config=qdrant.HnswIndexConfig(m=0, payload_m=16, ef_construct=128, full_scan_threshold=max(1, scanned)),
        quantization_config=qdrant.ScalarQuantizationConfig(
            qdrant.ScalarType.Int8, quantile=0.99, memory=qdrant.Memory.Pinned
        ),
        # optimize() alone builds, and only the builder calls it: then everything is worth a graph.
        optimizers=qdrant.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1),
    )
