"""Fuse: one score for each hit out of its cosine and BM25 scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragstone.models import Hit
from ragstone.settings import RetrievalSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """A hit and its fused score. The hit's own scores stay as they are."""

    hit: Hit
    score: float


def fuse(hits: Sequence[Hit], settings: RetrievalSettings) -> list[Fused]:
    """Best first; equal scores keep the order of their chunk ids, so that a search repeats itself."""
    scores = _rrf(hits, settings.rrf_k) if settings.fusion == "rrf" else _weighted(hits, settings.dense_weight)
    fused = [Fused(hit=hit, score=score) for hit, score in zip(hits, scores, strict=True)]
    return sorted(fused, key=lambda f: (-f.score, f.hit.chunk_id))


def _weighted(hits: Sequence[Hit], dense_weight: float) -> list[float]:
    """Weighted sum of the scores, each divided by its maximum over the hits.

    Dividing by the maximum, rather than spreading minimum to maximum over 0 to 1, keeps the distances between good
    hits when all of them are good. A side that was not searched has no weight.
    """
    dense = _by_maximum([hit.cosine for hit in hits])
    lexical = _by_maximum([hit.bm25 for hit in hits])
    if lexical is None or dense is None:
        return dense or lexical or [0.0] * len(hits)
    return [dense_weight * d + (1 - dense_weight) * b for d, b in zip(dense, lexical, strict=True)]


def _by_maximum(scores: Sequence[float | None]) -> list[float] | None:
    known = [score for score in scores if score is not None]
    if not known:
        return None
    top = max(known)
    return [max(score or 0.0, 0.0) / top if top > 0 else 0.0 for score in scores]


def _rrf(hits: Sequence[Hit], k: int) -> list[float]:
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): the sum of 1 / (k + rank).

    A chunk without a word of the query has no rank among the lexical ones.
    """
    totals = [0.0] * len(hits)
    for side in ([hit.cosine for hit in hits], [hit.bm25 or None for hit in hits]):
        found = [(score, i) for i, score in enumerate(side) if score is not None]
        for rank, (_, i) in enumerate(sorted(found, key=lambda pair: -pair[0]), start=1):
            totals[i] += 1 / (k + rank)
    return totals
