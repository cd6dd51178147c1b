"""How good a ranking is, given which documents are relevant: the figures that trec_eval computes.

A ranking lists document ids, best first. Judgements give a grade by document id; what is not in them, or is graded 0
or less, is not relevant. Every figure is between 0 and 1, and 0 when nothing is relevant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Ids by falling score; equal scores by falling id, as in trec_eval."""
    return sorted(scores, key=lambda document: (scores[document], document), reverse=True)


def ndcg(ranked: Sequence[str], judged: Mapping[str, int], k: int) -> float:
    """Normalised discounted cumulative gain of the first k (Järvelin and Kekäläinen, TOIS 2002).

    The gain is the grade itself, the discount log2(1 + rank), the ideal that of all judged documents.
    """
    ideal = _gain(sorted(judged.values(), reverse=True)[:k])
    return _gain([judged.get(document, 0) for document in ranked[:k]]) / ideal if ideal else 0.0


def recall(ranked: Sequence[str], judged: Mapping[str, int], k: int) -> float:
    """The share of the relevant documents that stand among the first k."""
    relevant = {document for document, grade in judged.items() if grade > 0}
    return len(relevant.intersection(ranked[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranked: Sequence[str], judged: Mapping[str, int], k: int) -> float:
    """One over the rank of the first relevant document, or 0 when it is not among the first k."""
    return next((1 / rank for rank, document in enumerate(ranked[:k], start=1) if judged.get(document, 0) > 0), 0.0)


def _gain(grades: Sequence[int]) -> float:
    return sum(max(grade, 0) / log2(1 + rank) for rank, grade in enumerate(grades, start=1))
