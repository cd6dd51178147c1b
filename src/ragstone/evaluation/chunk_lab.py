"""The chunk lab: every way to cut a text, measured by how much of an answer the chunks found for a question hold.

The method is that of Chroma's chunking evaluation (see chunk_metrics), with one difference: a question is asked of its
own corpus, where theirs is asked of all corpora at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias, get_args

import numpy as np
from pydantic import ValidationError

from ragstone.chunking.make import make_chunker
from ragstone.errors import SettingsError
from ragstone.evaluation.chunk_metrics import Range, precision_omega, scores
from ragstone.evaluation.chunk_questions import Corpus, Question
from ragstone.evaluation.chunk_search import Ranking, fused, nearest
from ragstone.evaluation.chunk_vectors import VectorCache
from ragstone.models import Chunk, Vectors
from ragstone.settings import ChunkingSettings, RetrievalSettings

STRATEGIES: tuple[str, ...] = get_args(ChunkingSettings.model_fields["strategy"].annotation)
SIZES = (128, 200, 256, 400)
MEASURES = ("recall", "precision", "iou", "precision_omega", "recall_at_budget")

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told a step by its name, how much of it is done, and of how much."""

Scored: TypeAlias = Mapping[str, float]
"""One question's measures, and `shown_tokens`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Over all questions; the standard deviation is that of these very questions (divided by n), as in the original."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One way to cut, measured."""

    strategy: str
    max_tokens: int
    overlap: float
    chunks: int
    chunk_tokens: float  # of a chunk on average, prefix included
    shown_tokens: float  # retrieved for a question on average
    figures: Mapping[str, Figure]  # by measure
    corpora: Mapping[str, Mapping[str, float]]  # the mean of each measure by corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is compared, and which chunks count."""

    strategies: Sequence[str] = STRATEGIES
    sizes: Sequence[int] = ()  # none: SIZES, and the model's limit where that is less than the largest of them
    overlaps: Sequence[float] = (0.0,)
    top_k: int = 5
    budget: int = 1000  # tokens
    hybrid: RetrievalSettings | None = None  # None ranks by cosine alone

    def too_large(self, limit: int) -> list[int]:
        """The sizes that the model does not take."""
        return [size for size in self.sizes or SIZES if size > limit]

    def ways(self, base: ChunkingSettings, limit: int) -> list[ChunkingSettings]:
        """Every combination that the model takes, other settings as they are.

        Raises SettingsError for a value that the settings refuse, and when nothing is left.
        """
        sizes = self.sizes or sorted({*SIZES, min(limit, SIZES[-1])})
        fitting = [size for size in sizes if size <= limit]
        if not fitting:
            raise SettingsError(f"no size is within the model's limit of {limit} tokens", hint=f"--sizes {limit}")
        return [_way(base, *chosen) for chosen in product(self.strategies, fitting, self.overlaps)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """Texts with questions, and what is to be found out about them."""

    corpora: Sequence[Corpus]
    vectors: VectorCache
    chunking: ChunkingSettings  # what the plan does not vary
    plan: Plan

    async def run(self, progress: Progress) -> list[Result]:
        """A result for each way to cut. Raises SettingsError for a plan that cannot be, and ProviderError."""
        ways = self.plan.ways(self.chunking, self.vectors.embedder.max_tokens)
        cut = [way async for way in self._cut(ways, progress)]
        await self.vectors.embed([chunk.embedded for way in cut for chunks in way for chunk in chunks], "backfill")
        questions = [await self.vectors.embed([q.text for q in corpus.questions], "query") for corpus in self.corpora]
        results = []
        for number, (way, chunks) in enumerate(zip(ways, cut, strict=True), start=1):
            results.append(await self._measure(way, chunks, questions))
            progress("measure", number, len(ways))
        return results

    async def _cut(self, ways: Sequence[ChunkingSettings], progress: Progress) -> AsyncIterator[list[list[Chunk]]]:
        """The chunks of each corpus, by way."""
        loop, embedder = asyncio.get_running_loop(), self.vectors.embedder

        def embed(texts: Sequence[str]) -> Vectors:  # called by a chunker, in its thread
            return asyncio.run_coroutine_threadsafe(self.vectors.embed(texts, "backfill"), loop).result()

        for number, way in enumerate(ways, start=1):
            chunker = make_chunker(way, embedder.count, embedder.max_tokens, embed)
            yield [await asyncio.to_thread(chunker.chunk, corpus.document) for corpus in self.corpora]
            progress("cut", number, len(ways))

    async def _measure(
        self, way: ChunkingSettings, cut: Sequence[Sequence[Chunk]], questions: Sequence[Vectors]
    ) -> Result:
        """A way that was cut, with the vectors of each corpus's questions."""
        by_corpus: dict[str, list[Scored]] = {}
        for corpus, chunks, asked in zip(self.corpora, cut, questions, strict=True):
            rankings = await self._rank(corpus, chunks, asked)
            by_corpus[corpus.name] = await asyncio.to_thread(self._score, corpus.questions, chunks, rankings)
        return _result(way, [chunk.tokens for chunks in cut for chunk in chunks], by_corpus)

    async def _rank(self, corpus: Corpus, chunks: Sequence[Chunk], questions: Vectors) -> list[Ranking]:
        vectors = await self.vectors.embed([chunk.embedded for chunk in chunks], "backfill")
        if self.plan.hybrid is None:
            return nearest(vectors, questions)
        return await fused(chunks, vectors, [q.text for q in corpus.questions], questions, self.plan.hybrid)

    def _score(
        self, questions: Sequence[Question], chunks: Sequence[Chunk], rankings: Sequence[Ranking]
    ) -> list[Scored]:
        spans = [_span(chunk) for chunk in chunks]
        return [
            self._scored(question.references, spans, [chunks[place] for place in ranking])
            for question, ranking in zip(questions, rankings, strict=True)
        ]

    def _scored(self, references: Sequence[Range], spans: Sequence[Range], ranked: Sequence[Chunk]) -> Scored:
        best = ranked[: self.plan.top_k]
        found = scores([_span(chunk) for chunk in best], references)
        return {
            "recall": found.recall,
            "precision": found.precision,
            "iou": found.iou,
            "precision_omega": precision_omega(spans, references),
            "recall_at_budget": scores(list(_within(ranked, self.plan.budget)), references).recall,
            "shown_tokens": sum(chunk.tokens for chunk in best),
        }


def _way(base: ChunkingSettings, strategy: str, size: int, overlap: float) -> ChunkingSettings:
    chosen = {"strategy": strategy, "max_tokens": size, "overlap": overlap}
    try:
        return ChunkingSettings.model_validate({**base.model_dump(), **chosen})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise SettingsError(f"chunking.{wrong['loc'][0]} cannot be {wrong['input']!r}: {wrong['msg']}") from None


def _result(way: ChunkingSettings, tokens: Sequence[int], by_corpus: Mapping[str, Sequence[Scored]]) -> Result:
    everything = [scored for corpus in by_corpus.values() for scored in corpus]
    return Result(
        strategy=way.strategy,
        max_tokens=way.max_tokens,
        overlap=way.overlap,
        chunks=len(tokens),
        chunk_tokens=float(np.mean(tokens)),
        shown_tokens=_figure(everything, "shown_tokens").mean,
        figures={measure: _figure(everything, measure) for measure in MEASURES},
        corpora={
            name: {measure: _figure(scored, measure).mean for measure in MEASURES} for name, scored in by_corpus.items()
        },
    )


def _within(ranked: Sequence[Chunk], budget: int) -> Iterator[Range]:
    """The best chunks of so many tokens in all: of the last one its beginning, so that no size has an advantage."""
    left = budget
    for chunk in ranked:
        if left <= 0:
            return
        share = min(1.0, left / chunk.tokens)
        yield chunk.start, chunk.start + round(share * (chunk.end - chunk.start))
        left -= chunk.tokens


def _span(chunk: Chunk) -> Range:
    return chunk.start, chunk.end


def _figure(scored: Sequence[Scored], name: str) -> Figure:
    values = [one[name] for one in scored]
    return Figure(mean=float(np.mean(values)), std=float(np.std(values)))
