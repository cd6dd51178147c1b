"""Measure retrieval on a data set: how well each kind of search ranks its documents, and how long a question takes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal, TypeAlias
from uuid import UUID

import numpy as np

from ragstone.evaluation.datasets import Corpus, Dataset
from ragstone.evaluation.metrics import ndcg, ranking, recall, reciprocal_rank
from ragstone.models import Hit, Scope
from ragstone.retrieval.fusion import fuse
from ragstone.retrieval.pipeline import Retriever
from ragstone.settings import RetrievalSettings

Run = Literal["bm25", "dense", "hybrid"]
Rankings: TypeAlias = Mapping[str, Sequence[str]]
"""By question: the ids of its documents, best first."""
Progress: TypeAlias = Callable[[], None]
"""Called after each question, of each round of questions."""

RUNS: tuple[Run, ...] = ("bm25", "dense", "hybrid")
ROUNDS = 2  # every question is asked once for the ranking and once against the clock
DEPTH = 300
"""Chunks taken from each search: enough for the 100 documents of recall@100 when several chunks are of one."""
WARM_UP = 20
"""Questions asked before the clock counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was measured: the mean of each figure over all questions by run, and milliseconds by stage."""

    dataset: str
    split: str
    questions: int
    documents: int
    chunks: int
    absent: int  # relevant documents that the corpus does not have
    runs: Mapping[Run, Mapping[str, float]]
    latency_ms: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Puts the questions of a data set to a collection that holds its corpus, and nothing else."""

    dataset: Dataset
    retriever: Retriever
    scope: Scope
    settings: RetrievalSettings
    _documents: dict[UUID, str] = field(default_factory=dict)  # by chunk, as far as it was asked for

    async def evaluate(self, progress: Progress) -> Evaluation:
        """Raises IndexFailure, CatalogError or ProviderError."""
        rankings = await self.rankings(progress)
        return Evaluation(
            dataset=self.dataset.name,
            split=self.dataset.split,
            questions=len(self.dataset.questions),
            documents=len(self.dataset.corpus),
            chunks=await self.retriever.index.count(self.scope),
            absent=self.dataset.absent,
            runs={run: figures(found, self.dataset.judgements) for run, found in rankings.items()},
            latency_ms=await self.latency(progress),
        )

    async def rankings(self, progress: Progress) -> dict[Run, Rankings]:
        """Every document found, by each kind of search; no threshold applies."""
        found: dict[Run, dict[str, list[str]]] = {run: {} for run in RUNS}
        async for key, hits in self.search(progress):
            for run in RUNS:
                found[run][key] = self.ranked(hits, run, self.settings)
        return dict(found)

    async def search(self, progress: Progress) -> AsyncIterator[tuple[str, list[Hit]]]:
        """Each question with hits that carry both scores: one search serves all runs."""
        questions = self.dataset.questions
        vectors = await self.retriever.embedder.embed(list(questions.values()), "query")
        for (key, question), vector in zip(questions.items(), vectors, strict=True):
            hits = await self.retriever.index.search(self.scope, vector=vector, text=question, limit=DEPTH)
            await self._learn([hit.chunk_id for hit in hits])
            yield key, hits
            progress()

    def ranked(self, hits: Sequence[Hit], run: Run, settings: RetrievalSettings) -> list[str]:
        """The documents of these hits, best first. A document scores what the best of its chunks does."""
        best: dict[str, float] = {}
        for chunk, score in chunk_scores(hits, run, settings, DEPTH).items():
            document = self._documents.get(chunk)
            if document is not None:
                best[document] = max(score, best.get(document, score))
        return ranking(best)

    async def latency(self, progress: Progress) -> dict[str, dict[str, float]]:
        """What retrieval takes as users have it, one question after another: per stage, and `total`."""
        questions = list(self.dataset.questions.values())
        for question in questions[:WARM_UP]:
            await self.retriever.retrieve(question, self.scope, self.settings)
        stages: dict[str, list[float]] = {}
        totals = []
        for question in questions:
            start = time.perf_counter()
            found = await self.retriever.retrieve(question, self.scope, self.settings)
            totals.append(time.perf_counter() - start)
            for stage in found.trace.stages:
                stages.setdefault(stage.name, []).append(stage.seconds)
            progress()
        return {name: percentiles(seconds) for name, seconds in {**stages, "total": totals}.items()}

    async def _learn(self, chunk_ids: Sequence[UUID]) -> None:
        """Which documents these chunks are of."""
        new = [chunk for chunk in chunk_ids if chunk not in self._documents]
        if new:
            corpus = Corpus(self.dataset)
            stored = await self.retriever.reader.chunks(self.scope.generation, self.scope.tenant, new)
            self._documents.update((chunk, corpus.key(found.uri)) for chunk, found in stored.items())


def chunk_scores(hits: Sequence[Hit], run: Run, settings: RetrievalSettings, limit: int) -> dict[UUID, float]:
    """What a search of one kind with this limit finds, out of the hits of a search of both kinds with it."""
    if run == "hybrid":
        return {fused.hit.chunk_id: fused.score for fused in fuse(hits, settings)}
    if run == "bm25":
        scores = {hit.chunk_id: hit.bm25 for hit in hits if hit.bm25}
    else:
        scores = {hit.chunk_id: hit.cosine for hit in hits if hit.cosine is not None}
    best = sorted(scores, key=lambda chunk: -scores[chunk])[:limit]
    return {chunk: scores[chunk] for chunk in best}


def figures(rankings: Rankings, judgements: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """The mean of each figure over all judged questions, those that found nothing included."""
    pairs = [(rankings.get(question, ()), judged) for question, judged in judgements.items()]
    return {
        "ndcg@10": fmean(ndcg(found, judged, 10) for found, judged in pairs),
        "recall@100": fmean(recall(found, judged, 100) for found, judged in pairs),
        "mrr@10": fmean(reciprocal_rank(found, judged, 10) for found, judged in pairs),
    }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile, in milliseconds."""
    return {f"p{q}": round(float(np.percentile(seconds, q)) * 1e3, 3) for q in (50, 99)}
