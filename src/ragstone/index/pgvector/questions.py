"""The words of a question: how rare each is, and which of them can be left for later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragstone.index import lexical
from ragstone.index.pgvector.rows import signed

FREQUENT = 1_000
"""Points that a word is in, from which on passing over them may be worth a second look."""

_HIGHEST = lexical.K + 1  # that a word can weigh in a text

Rarities = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The words that are in some point, as pairs of word and rarity (idf).

    A point that has only frequent ones scores `bound` at most. When the wanted number of points score more than that
    by rare words alone, no other can be among the best, and the postings of frequent words need not be read through.
    (MaxScore: Turtle and Flood, Query Evaluation: Strategies and Optimizations, 1995.)
    """

    rare: Rarities
    frequent: Rarities

    @classmethod
    def of(cls, counts: Mapping[int, int], points: int) -> Question:
        """By how many points have each word, of how many."""
        rarities = {word: lexical.idf(points, counts[word]) for word in sorted(counts, key=lambda w: (counts[w], w))}
        highest = max(rarities.values())
        frequent: dict[int, float] = {}
        for word, rarity in sorted(rarities.items(), key=lambda each: each[1]):
            if counts[word] < FREQUENT or _HIGHEST * (sum(frequent.values()) + rarity) > highest:
                break
            frequent[word] = rarity
        rare = tuple((word, rarity) for word, rarity in rarities.items() if word not in frequent)
        return cls(rare=rare, frequent=tuple(frequent.items()))

    @property
    def bound(self) -> float:
        return _HIGHEST * sum(rarity for _, rarity in self.frequent)

    @property
    def parameters(self) -> dict[str, Any]:
        return _columns("words", "rarities", self.rare + self.frequent)

    @property
    def rare_parameters(self) -> dict[str, Any]:
        return _columns("words", "rarities", self.rare) | _columns("frequent", "rarities_of_frequent", self.frequent)


def question(text: str) -> Sequence[int]:
    """The distinct words of a question."""
    return [int(word) for word in signed(lexical.query(text).indices)]


def _columns(words: str, rarities: str, pairs: Rarities) -> dict[str, Any]:
    return {words: [word for word, _ in pairs], rarities: [rarity for _, rarity in pairs]}
