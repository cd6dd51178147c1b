"""One shard of Qdrant Edge: all points of one vector space, dense and by words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID, uuid5

import numpy as np
import numpy.typing as npt
import qdrant_edge as qdrant

from ragstone.errors import IndexFailure
from ragstone.index import lexical
from ragstone.models import Hit, Point

Scores = dict[UUID, float]
DENSE, WORDS = "dense", "bm25"
SCOPE, DOCUMENT = "scope", "document"

SCAN_BELOW = 3_000
"""Points of one scope up to which scanning them all is as quick as a graph."""

OVERSAMPLING = 2.0
"""Candidates per wanted hit that are rescored with the unquantised vectors."""


def scope_key(tenant: str, generation: UUID) -> str:
    """Tenant and generation as the one value that every point carries and every search filters by."""
    return str(uuid5(generation, tenant))


class Shard:
    """An open shard. Calls block the whole interpreter; nothing is durable before `flush`. Raises IndexFailure."""

    def __init__(self, engine: qdrant.EdgeShard, folder: Path) -> None:
        self._engine = engine
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, dimensions: int) -> Shard:
        folder.mkdir(mode=0o700)
        with _engine_errors():
            engine = qdrant.EdgeShard.create(str(folder), _config(dimensions))
            # m = 0 below leaves the graph to this index: each scope gets its own, so a filter costs no recall.
            scope = qdrant.UuidIndexParams(is_tenant=True, enable_hnsw=True)
            engine.update(qdrant.UpdateOperation.create_field_index(SCOPE, scope))
            document = qdrant.UuidIndexParams(enable_hnsw=False)
            engine.update(qdrant.UpdateOperation.create_field_index(DOCUMENT, document))
            engine.flush()
        return cls(engine, folder)

    @classmethod
    def load(cls, folder: Path) -> Shard:
        with _engine_errors():
            return cls(qdrant.EdgeShard.load(str(folder)), folder)

    def upsert(self, scope: str, document: UUID, points: Iterable[Point]) -> None:
        payload = {SCOPE: scope, DOCUMENT: str(document)}
        with _engine_errors():
            rows = [
                qdrant.Point(p.chunk_id, {DENSE: p.vector.tolist(), WORDS: lexical.document(p.text)}, payload)
                for p in points
            ]
            self._engine.update(qdrant.UpdateOperation.upsert_points(rows))

    def remove(self, scope: str, documents: Iterable[UUID], keep: Iterable[UUID]) -> None:
        """Delete the points of some documents, except those to keep."""
        named = qdrant.FieldCondition(DOCUMENT, qdrant.MatchAny([str(document) for document in documents]))
        doomed = qdrant.Filter(must=[_within(scope), named], must_not=[qdrant.HasIdCondition(set(keep))])
        with _engine_errors():
            self._engine.update(qdrant.UpdateOperation.delete_points_by_filter(doomed))

    def copy_document(self, scope: str, document: UUID, into: Shard) -> None:
        """Make another shard hold what this one holds of a document."""
        named = qdrant.FieldCondition(DOCUMENT, qdrant.MatchValue(str(document)))
        into.remove(scope, [document], [])
        offset: qdrant.PointId | None = None
        with _engine_errors():
            while True:
                request = qdrant.ScrollRequest(
                    offset=offset,
                    limit=500,
                    filter=qdrant.Filter(must=[_within(scope), named]),
                    with_payload=True,
                    with_vector=True,
                )
                records, offset = self._engine.scroll(request)
                rows = [qdrant.Point(r.id, r.vector, r.payload) for r in records if r.vector is not None]
                into._engine.update(qdrant.UpdateOperation.upsert_points(rows))
                if offset is None:
                    return

    def search(
        self, scope: str, *, vector: npt.NDArray[np.float32] | None, text: str | None, limit: int, ef: int
    ) -> list[Hit]:
        """See Index.search. Three calls at most: dense; words, with the words of the dense hits; dense of the rest."""
        if limit < 1:
            return []
        with _engine_errors():
            search = _Search(engine=self._engine, scope=_within(scope), limit=limit, ef=ef)
            cosine = {} if vector is None else search.nearest(vector)
            bm25 = {} if text is None else search.best(text, also=cosine.keys())
            if vector is not None and (rest := bm25.keys() - cosine.keys()):
                cosine |= search.nearest(vector, among=rest)
        return [
            Hit(
                chunk_id=chunk_id,
                cosine=None if vector is None else cosine[chunk_id],
                bm25=None if text is None else bm25.get(chunk_id, 0.0),
            )
            for chunk_id in cosine.keys() | bm25.keys()
        ]

    def count(self, scope: str) -> int:
        with _engine_errors():
            return self._engine.count(qdrant.CountRequest(exact=True, filter=qdrant.Filter(must=[_within(scope)])))

    def size(self) -> int:
        with _engine_errors():
            return self._engine.info().points_count

    def flush(self) -> None:
        with _engine_errors():
            self._engine.flush()

    def optimize(self) -> None:
        """Build the graphs and drop what was deleted: seconds to minutes, in which the interpreter stands still."""
        with _engine_errors():
            self._engine.optimize()

    def close(self) -> None:
        with _engine_errors():
            self._engine.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """One search of one scope, call by call."""

    engine: qdrant.EdgeShard
    scope: qdrant.FieldCondition
    limit: int
    ef: int

    def nearest(self, vector: npt.NDArray[np.float32], among: Iterable[UUID] | None = None) -> Scores:
        """The nearest by cosine, or the cosines of given points of the scope."""
        ids = None if among is None else set(among)
        rescored = qdrant.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
        request = qdrant.QueryRequest(
            self.limit if ids is None else len(ids),
            query=qdrant.Query.Nearest(vector.tolist(), using=DENSE),
            filter=self._filter(ids),
            params=qdrant.SearchParams(hnsw_ef=self.ef, quantization=rescored),
        )
        return _scores(self.engine.query(request))

    def best(self, text: str, also: Iterable[UUID]) -> Scores:
        """The best by BM25 and, of the points in `also`, those with a word of the text.

        Both in one batch: the engine counts the scope's words once for it, which is most of the cost.
        """
        words = lexical.query(text)
        given = set(also)
        if not words.indices:
            return {}
        requests = [self._words(words, self.limit, None)]
        if given:
            requests.append(self._words(words, len(given), given))
        scores: Scores = {}
        for found in self.engine.query_batch(qdrant.QueryBatchRequest(requests)):
            scores |= _scores(found)
        return scores

    def _words(self, words: qdrant.SparseVector, limit: int, ids: set[UUID] | None) -> qdrant.QueryRequest:
        """Rarity is counted within the scope: one tenant's words never shape another's scores."""
        return qdrant.QueryRequest(
            limit,
            query=qdrant.Query.Nearest(words, using=WORDS),
            filter=self._filter(ids),
            params=qdrant.SearchParams(idf=qdrant.IdfParams(self._filter(None))),
        )

    def _filter(self, ids: set[UUID] | None) -> qdrant.Filter:
        return qdrant.Filter(must=[self.scope] if ids is None else [self.scope, qdrant.HasIdCondition(set(ids))])


def _within(scope: str) -> qdrant.FieldCondition:
    return qdrant.FieldCondition(SCOPE, qdrant.MatchValue(scope))


def _scores(found: Sequence[qdrant.ScoredPoint]) -> Scores:
    return {cast(UUID, point.id): point.score for point in found}  # every id is one that `upsert` gave


def _config(dimensions: int) -> qdrant.EdgeConfig:
    """Scanned vectors stay in memory as int8; the originals, for rescoring, in the page cache."""
    bytes_per_point = dimensions * 4
    return qdrant.EdgeConfig(
        vectors={DENSE: qdrant.EdgeVectorParams(dimensions, qdrant.Distance.Cosine, memory=qdrant.Memory.Cached)},
        sparse_vectors={WORDS: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
        hnsw_config=qdrant.HnswIndexConfig(
            m=0,
            payload_m=16,
            ef_construct=128,
            full_scan_threshold=max(1, SCAN_BELOW * bytes_per_point // 1024),
        ),
        quantization_config=qdrant.ScalarQuantizationConfig(
            qdrant.ScalarType.Int8, quantile=0.99, memory=qdrant.Memory.Pinned
        ),
        # optimize() alone builds, and only the builder calls it: then everything is worth a graph.
        optimizers=qdrant.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1),
    )


@contextmanager
def _engine_errors() -> Iterator[None]:
    """The binding raises bare Exceptions; they become ours here and nowhere else."""
    try:
        yield
    except Exception as error:
        raise IndexFailure(
            f"Qdrant Edge: {error}", hint="the index can be deleted at any time; it is rebuilt from the catalog"
        ) from error
