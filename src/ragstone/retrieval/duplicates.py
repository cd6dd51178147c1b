"""Dedup: of texts that say nearly the same, the best one goes on."""

from __future__ import annotations

from collections.abc import Sequence

from ragstone.models import Candidate
from ragstone.telemetry import Stage

SHINGLE = 4  # words


def distinct(candidates: Sequence[Candidate], similarity: float, limit: int, stage: Stage) -> list[Candidate]:
    """The first `limit` candidates, without those that repeat a better one.

    Two texts are duplicates when their word shingles have a Jaccard similarity of at least `similarity`
    (Broder, On the resemblance and containment of documents, 1997).
    """
    kept: list[tuple[Candidate, frozenset[tuple[str, ...]]]] = []
    for candidate in candidates:
        if len(kept) == limit:
            stage.drop(candidate.chunk.id, f"beyond the {limit} best")
            continue
        shingles = _shingles(candidate.chunk.text)
        twin = next((k for k, other in kept if _jaccard(shingles, other) >= similarity), None)
        if twin is None:
            kept.append((candidate, shingles))
        else:
            stage.drop(candidate.chunk.id, f"near-duplicate of {twin.chunk.id}")
    return [candidate for candidate, _ in kept]


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = text.casefold().split()
    return frozenset(tuple(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1)))


def _jaccard(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)
