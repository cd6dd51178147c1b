"""The flow of a question: embed → search → fuse → threshold → hydrate → dedup → parents → join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from ragstone.embedding.base import Embedder
from ragstone.index.base import Index
from ragstone.index.filters import Filter
from ragstone.models import Candidate, Passage, Scope, StoredChunk
from ragstone.retrieval.duplicates import distinct
from ragstone.retrieval.fusion import Fused, fuse
from ragstone.retrieval.neighbours import join
from ragstone.retrieval.parents import TextReader, widened
from ragstone.retrieval.threshold import above
from ragstone.settings import RetrievalSettings
from ragstone.telemetry import Stage, Trace

HYDRATED = 3
"""Candidates whose text is read, for each passage wanted: enough to fill up after duplicates have gone."""


class ChunkReader(TextReader, Protocol):
    """The catalog, as retrieval sees it: text by id or place, under the tenant's rights and the current versions."""

    async def chunks(self, generation_id: UUID, tenant: str, ids: Sequence[UUID]) -> dict[UUID, StoredChunk]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """What retrieval found. `ranked` are all hits after fusion, best first; `trace` tells what became of each."""

    question: str
    passages: tuple[Passage, ...]
    ranked: tuple[Fused, ...]
    trace: Trace

    def fates(self) -> dict[UUID, str]:
        """What became of each hit: the passage it is in, or the stage that removed it and why."""
        kept = {chunk_id: f"passage {p.number}" for p in self.passages for chunk_id in p.chunk_ids}
        drops = [(stage.name, drop) for stage in self.trace.stages for drop in stage.drops]
        return kept | {drop.chunk_id: f"{name}: {drop.reason}" for name, drop in drops}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retriever:
    """Finds passages for questions. `ef` is the breadth of the graph search; None leaves it to the index."""

    embedder: Embedder
    index: Index
    reader: ChunkReader
    ef: int | None = None

    async def retrieve(
        self, question: str, scope: Scope, settings: RetrievalSettings, where: Filter | None = None
    ) -> Retrieved:
        """Passages of documents that the filter lets through, all of them without one.

        Raises IndexFailure, CatalogError or ProviderError; a question that finds nothing gives no passages.
        """
        trace = Trace()
        vector = None
        if settings.mode != "bm25":
            with trace.stage("embed"):
                vector = (await self.embedder.embed([question], "query"))[0]
        with trace.stage("search") as stage:
            text = None if settings.mode == "dense" else question
            hits = await self.index.search(
                scope, vector=vector, text=text, limit=settings.candidates, where=where, ef=self.ef
            )
            stage.given = len(hits)
        with trace.stage("fuse") as stage:
            ranked = fuse(hits, settings)
            _count(stage, hits, ranked)
        with trace.stage("threshold") as stage:
            near = above(ranked, settings.min_cosine, stage)
            _count(stage, ranked, near)
        with trace.stage("hydrate") as stage:
            candidates = await self._hydrate(near[: HYDRATED * settings.top_k], scope, stage)
            _count(stage, near, candidates)
            for fused in near[HYDRATED * settings.top_k :]:
                stage.drop(fused.hit.chunk_id, f"beyond the {HYDRATED * settings.top_k} best")
        with trace.stage("dedup") as stage:
            kept = distinct(candidates, settings.duplicate, settings.top_k, stage)
            _count(stage, candidates, kept)
        with trace.stage("parents") as stage:
            wide = await widened(kept, self.reader, scope, stage)
            _count(stage, kept, wide)
        with trace.stage("join") as stage:
            passages = join(wide)
            _count(stage, wide, passages)
        return Retrieved(question=question, passages=passages, ranked=tuple(ranked), trace=trace)

    async def _hydrate(self, near: Sequence[Fused], scope: Scope, stage: Stage) -> list[Candidate]:
        """Text comes from the catalog alone: a chunk that it does not give is not shown, whatever the index says."""
        ids = [fused.hit.chunk_id for fused in near]
        chunks = await self.reader.chunks(scope.generation, scope.tenant, ids) if ids else {}
        candidates = []
        for fused in near:
            chunk = chunks.get(fused.hit.chunk_id)
            if chunk is None:
                stage.drop(fused.hit.chunk_id, "not in the catalog: deleted, superseded or not this tenant's")
            else:
                candidates.append(
                    Candidate(chunk=chunk, cosine=fused.hit.cosine, bm25=fused.hit.bm25, fused=fused.score)
                )
        return candidates


def _count(stage: Stage, taken: Sequence[object], given: Sequence[object]) -> None:
    stage.taken, stage.given = len(taken), len(given)
