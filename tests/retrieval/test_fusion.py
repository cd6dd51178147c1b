"""Fusion: what both searches think well of comes first, and scores stay what they were."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.models import Hit
from ragstone.retrieval.fusion import fuse
from ragstone.settings import RetrievalSettings

WEIGHTED = RetrievalSettings(fusion="weighted", dense_weight=0.5)
RRF = RetrievalSettings(fusion="rrf", rrf_k=10)


def hit(n: int, cosine: float | None, bm25: float | None) -> Hit:
    return Hit(chunk_id=UUID(int=n), cosine=cosine, bm25=bm25)


def hits() -> st.SearchStrategy[list[Hit]]:
    scores = st.tuples(st.floats(-1, 1), st.floats(0, 50))
    return st.lists(scores, max_size=30).map(lambda rows: [hit(n, *row) for n, row in enumerate(rows)])


def test_weighted_sum_of_scores_divided_by_their_maximum() -> None:
    fused = fuse([hit(1, 0.8, 5.0), hit(2, 0.4, 10.0), hit(3, 0.6, 0.0)], WEIGHTED)
    assert [f.hit.chunk_id.int for f in fused] == [1, 2, 3]
    assert [f.score for f in fused] == pytest.approx([0.75, 0.75, 0.375])


def test_the_weight_decides_between_the_two() -> None:
    pair = [hit(1, 0.9, 1.0), hit(2, 0.3, 9.0)]
    assert fuse(pair, RetrievalSettings(dense_weight=0.9))[0].hit.chunk_id.int == 1
    assert fuse(pair, RetrievalSettings(dense_weight=0.1))[0].hit.chunk_id.int == 2


def test_reciprocal_rank_fusion_sums_over_both_rankings() -> None:
    fused = fuse([hit(1, 0.9, 3.0), hit(2, 0.8, 7.0), hit(3, 0.7, 0.0)], RRF)
    expected = {1: 1 / 11 + 1 / 12, 2: 1 / 12 + 1 / 11, 3: 1 / 13}
    assert {f.hit.chunk_id.int: pytest.approx(f.score) for f in fused} == expected


def test_a_side_that_was_not_searched_has_no_say() -> None:
    assert [f.hit.chunk_id.int for f in fuse([hit(1, 0.2, None), hit(2, 0.9, None)], WEIGHTED)] == [2, 1]
    assert [f.hit.chunk_id.int for f in fuse([hit(1, None, 8.0), hit(2, None, 2.0)], WEIGHTED)] == [1, 2]


@given(hits(), st.sampled_from([WEIGHTED, RRF]))
def test_every_hit_is_ranked_once_and_unchanged(found: list[Hit], settings: RetrievalSettings) -> None:
    fused = fuse(found, settings)
    assert sorted(f.hit.chunk_id for f in fused) == sorted(h.chunk_id for h in found)
    assert {f.hit for f in fused} == set(found)
    assert [f.score for f in fused] == sorted((f.score for f in fused), reverse=True)


@given(hits(), st.sampled_from([WEIGHTED, RRF]))
def test_a_hit_that_is_better_on_both_sides_never_ranks_below(found: list[Hit], settings: RetrievalSettings) -> None:
    score = {f.hit.chunk_id: f.score for f in fuse(found, settings)}
    for a in found:
        for b in found:
            if (a.cosine or 0) > (b.cosine or 0) and (a.bm25 or 0) > (b.bm25 or 0):
                assert score[a.chunk_id] >= score[b.chunk_id]
