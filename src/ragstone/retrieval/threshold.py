"""Threshold: what is not near enough to the question never reaches the prompt."""

from __future__ import annotations

from collections.abc import Sequence

from ragstone.retrieval.fusion import Fused
from ragstone.telemetry import Stage


def above(fused: Sequence[Fused], min_cosine: float, stage: Stage) -> list[Fused]:
    """Those with a cosine of at least `min_cosine`, or with none because no vector was searched."""
    kept = []
    for candidate in fused:
        cosine = candidate.hit.cosine
        if cosine is None or cosine >= min_cosine:
            kept.append(candidate)
        else:
            stage.drop(candidate.hit.chunk_id, f"below threshold: cosine {cosine:.3f} < {min_cosine:.3f}")
    return kept
