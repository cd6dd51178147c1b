"""What an index should hold after any history, and how it should score it, from the formulas alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import numpy as np
from hypothesis import strategies as st

from contracts.filters import FIELDS, FILTERS
from contracts.points import SPACES, Question, Vector, as_vector, ask, scope_of
from ragstone.index.base import Index
from ragstone.index.filters import Filter, matches
from ragstone.index.lexical import AVERAGE_LENGTH, B, K
from ragstone.index.terms import terms
from ragstone.models import Fields, Hit, Point, Replacement, Scope

# Each is one word, its own stem, and no stop word: the model below can split at blanks.
WORDS = ("fox", "owl", "newt", "lynx", "日本", "müßig", "x86")


@dataclass(frozen=True, slots=True)
class Text:
    words: tuple[str, ...]
    vector: tuple[int, ...]

    def point(self, dimensions: int) -> Point:
        return Point(
            chunk_id=uuid4(),
            text=" ".join(self.words),
            vector=np.array(self.vector[:dimensions], dtype=np.float32),
            hash=uuid4().bytes,
        )


@dataclass(frozen=True, slots=True)
class Change:
    tenant: int
    generation: int
    document: int
    texts: tuple[Text, ...]
    fields: Fields


@dataclass(slots=True)
class Model:
    """What an index should hold, and how it should score it."""

    documents: dict[Scope, dict[UUID, Replacement]] = field(default_factory=dict)

    def apply(self, replacement: Replacement) -> None:
        self.documents.setdefault(scope_of(replacement), {})[replacement.document_id] = replacement

    def points(self, scope: Scope, where: Filter | None = None) -> list[Point]:
        return [
            point
            for document in self.documents.get(scope, {}).values()
            if where is None or matches(where, terms(document.fields))
            for point in document.points
        ]

    def cosine(self, scope: Scope, vector: Vector) -> dict[UUID, float]:
        return {p.chunk_id: _cosine(p.vector, vector) for p in self.points(scope)}

    def bm25(self, scope: Scope, words: Iterable[str]) -> dict[UUID, float]:
        texts = {p.chunk_id: Counter(p.text.split()) for p in self.points(scope)}
        rarity = {word: _idf(len(texts), sum(word in text for text in texts.values())) for word in set(words)}
        return {i: sum(rarity[w] * _weight(text[w], text.total()) for w in rarity) for i, text in texts.items()}

    def check(self, scope: Scope, question: Question, hits: Sequence[Hit], dimensions: int) -> None:
        """Scores are right, nothing is missing and nothing is too much. Ties may be broken either way."""
        found = {hit.chunk_id: hit for hit in hits}
        assert len(found) == len(hits)
        inside = {point.chunk_id for point in self.points(scope, question.where)}
        allowed: set[UUID] = set()
        if question.vector is not None:
            exact = _only(inside, self.cosine(scope, as_vector(question.vector, dimensions)))
            must, may = _best(exact, question.limit, tolerance=0.02)
            assert must <= found.keys()
            allowed |= may
            assert all(math.isclose(hit.cosine or 0, exact[i], abs_tol=1e-3) for i, hit in found.items())
        if question.words is not None:
            exact = _only(inside, self.bm25(scope, question.words))
            must, may = _best({i: score for i, score in exact.items() if score > 0}, question.limit, tolerance=1e-4)
            assert must <= found.keys()
            allowed |= may
            assert all(math.isclose(hit.bm25 or 0, exact[i], abs_tol=1e-4) for i, hit in found.items())
        assert found.keys() <= allowed
        assert all((hit.cosine is None) == (question.vector is None) for hit in hits)
        assert all((hit.bm25 is None) == (question.words is None) for hit in hits)


async def agree(index: Index, model: Model, scope: Scope, question: Question) -> None:
    """The index finds and counts in a scope what the model says that it should."""
    model.check(scope, question, await ask(index, scope, question), SPACES[scope.fingerprint])
    assert await index.count(scope, question.where) == len(model.points(scope, question.where))


def scopes(generations: Iterable[UUID]) -> list[Scope]:
    return [Scope(tenant=t, generation=g, fingerprint=name) for t in "ab" for g in generations for name in SPACES]


def replacement(change: Change, space: str, generations: Sequence[UUID]) -> Replacement:
    dimensions = SPACES[space]
    return Replacement(
        tenant="ab"[change.tenant],
        collection=UUID(int=0),
        generation=generations[change.generation],
        fingerprint=space,
        dimensions=dimensions,
        document_id=UUID(int=change.document + 1),
        points=tuple(text.point(dimensions) for text in change.texts),
        fields=change.fields,
    )


def _only(inside: set[UUID], scores: dict[UUID, float]) -> dict[UUID, float]:
    return {i: score for i, score in scores.items() if i in inside}


def _cosine(a: Vector, b: Vector) -> float:
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    return float(wide_a @ wide_b / (np.linalg.norm(wide_a) * np.linalg.norm(wide_b) or 1))


def _idf(total: int, containing: int) -> float:
    return math.log((total - containing + 0.5) / (containing + 0.5) + 1)


def _weight(frequency: int, length: int) -> float:
    return frequency * (K + 1) / (frequency + K * (1 - B + B * length / AVERAGE_LENGTH))


def _best(exact: dict[UUID, float], limit: int, tolerance: float) -> tuple[set[UUID], set[UUID]]:
    """Those that must be among the best, and those that may be: all near the last place."""
    ranked = sorted(exact.values(), reverse=True)
    if len(ranked) <= limit:
        return set(exact), set(exact)
    last, next_after = ranked[limit - 1], ranked[limit]
    must = {i for i, score in exact.items() if score > next_after + tolerance}
    return must, {i for i, score in exact.items() if score >= last - tolerance}


# Vectors of at least one non-zero component among the first five, so that both spaces have a direction.
VECTORS = st.tuples(st.integers(1, 3), *[st.integers(-3, 3)] * 7)
TEXTS = st.builds(Text, st.lists(st.sampled_from(WORDS), max_size=6).map(tuple), VECTORS)
CHANGES = st.builds(
    Change, st.integers(0, 1), st.integers(0, 1), st.integers(0, 3), st.lists(TEXTS, max_size=4).map(tuple), FIELDS
)
QUESTIONS = st.builds(
    Question,
    st.none() | VECTORS,
    st.none() | st.lists(st.sampled_from((*WORDS, "zebra")), max_size=3).map(tuple),
    st.sampled_from([1, 2, 5, 100]),
    st.none() | FILTERS,
)
