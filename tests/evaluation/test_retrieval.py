"""One search serves three runs, and each ranks as its own kind of search does."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.evaluation.retrieval import chunk_scores, figures, percentiles
from ragstone.index.exact import ExactIndex
from ragstone.models import Point, Replacement, Scope
from ragstone.settings import RetrievalSettings

SCOPE = Scope(tenant="t", generation=UUID(int=1), fingerprint="f")
WORDS = ["limestone", "granite", "slate", "marble", "wall", "roof"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=30)


async def filled(texts: list[str], rng: np.random.Generator) -> ExactIndex:
    index = ExactIndex()
    points = tuple(
        Point(chunk_id=UUID(int=number), text=text, vector=rng.normal(size=8).astype(np.float32))
        for number, text in enumerate(texts)
    )
    replacement = Replacement(
        tenant=SCOPE.tenant,
        collection=UUID(int=2),
        generation=SCOPE.generation,
        fingerprint=SCOPE.fingerprint,
        dimensions=8,
        document_id=UUID(int=3),
        points=points,
    )
    await index.apply([replacement], 1)
    return index


@settings(deadline=None)
@given(TEXTS, st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join), st.integers(1, 12), st.integers(0, 99))
async def test_a_run_finds_what_its_own_search_finds(texts: list[str], question: str, limit: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = await filled(texts, rng)
    vector = rng.normal(size=8).astype(np.float32)
    both = await index.search(SCOPE, vector=vector, text=question, limit=limit)
    dense = await index.search(SCOPE, vector=vector, text=None, limit=limit)
    bm25 = await index.search(SCOPE, vector=None, text=question, limit=limit)
    retrieval = RetrievalSettings()
    assert_same(chunk_scores(both, "dense", retrieval, limit), {hit.chunk_id: hit.cosine or 0.0 for hit in dense})
    assert_same(chunk_scores(both, "bm25", retrieval, limit), {hit.chunk_id: hit.bm25 or 0.0 for hit in bm25})
    assert set(chunk_scores(both, "hybrid", retrieval, limit)) == {hit.chunk_id for hit in both}


def assert_same(found: dict[UUID, float], own: dict[UUID, float]) -> None:
    """Equal scores; equal chunks too, but for those that tie with the last one."""
    assert sorted(found.values()) == pytest.approx(sorted(own.values()))
    assert {chunk for chunk, score in own.items() if score > min(own.values())} <= set(found)


def test_a_question_that_found_nothing_counts_as_nothing() -> None:
    measured = figures({"q1": ["a"]}, {"q1": {"a": 1}, "q2": {"b": 1}})
    assert measured == {"ndcg@10": 0.5, "recall@100": 0.5, "mrr@10": 0.5}


def test_percentiles_are_milliseconds() -> None:
    assert percentiles([0.001] * 98 + [0.5] * 2) == {"p50": 1.0, "p99": 500.0}
