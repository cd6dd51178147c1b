"""The metrics give what trec_eval gives, on any run and any judgements."""

from __future__ import annotations

import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from ragstone.evaluation.metrics import ndcg, ranking, recall, reciprocal_rank

IDS = st.sampled_from([f"d{number}" for number in range(30)] + ["é", "Z", "z", "10"])
SCORES = st.dictionaries(
    IDS,
    st.one_of(st.floats(-10, 10, width=32), st.integers(0, 2).map(float)),  # trec_eval keeps 32 bits; ties are likely
    min_size=1,
)
GRADES = st.dictionaries(IDS, st.integers(-1, 3), min_size=1)


@given(SCORES, GRADES, st.integers(1, 12))
def test_trec_eval_agrees(scores: dict[str, float], judged: dict[str, int], k: int) -> None:
    measures = {f"ndcg_cut.{k}", f"recall.{k}", "recip_rank"}
    theirs = pytrec_eval.RelevanceEvaluator({"q": judged}, measures).evaluate({"q": scores})["q"]
    ranked = ranking(scores)
    assert ndcg(ranked, judged, k) == pytest.approx(theirs[f"ndcg_cut_{k}"], abs=1e-9)
    assert recall(ranked, judged, k) == pytest.approx(theirs[f"recall_{k}"], abs=1e-9)
    assert reciprocal_rank(ranked, judged, len(ranked)) == pytest.approx(theirs["recip_rank"], abs=1e-9)


def test_by_hand() -> None:
    judged = {"a": 2, "b": 1, "x": 0}
    assert ndcg(["x", "a", "y"], judged, 10) == pytest.approx((2 / 1.5849625) / (2 + 1 / 1.5849625))
    assert recall(["x", "a", "b"], judged, 2) == 0.5
    assert reciprocal_rank(["x", "a", "b"], judged, 10) == 0.5
    assert reciprocal_rank(["x", "a", "b"], judged, 1) == 0.0


def test_nothing_relevant_is_zero() -> None:
    assert ndcg(["a"], {"a": 0}, 10) == recall(["a"], {}, 10) == reciprocal_rank([], {"a": 1}, 10) == 0.0
