"""What every index keeps to, checked against scores that are worked out here from the formulas alone."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ragstone.index.base import Index
from ragstone.index.lexical import AVERAGE_LENGTH, B, K
from ragstone.models import Hit, Point, Replacement, Scope

SPACES = {"space-a": 8, "space-b": 5}
"""Two vector spaces of different size."""

# Each is one word, its own stem, and no stop word: the model below can split at blanks.
WORDS = ("fox", "owl", "newt", "lynx", "日本", "müßig", "x86")

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Text:
    words: tuple[str, ...]
    vector: tuple[int, ...]

    def point(self, dimensions: int) -> Point:
        return Point(
            chunk_id=uuid4(), text=" ".join(self.words), vector=np.array(self.vector[:dimensions], dtype=np.float32)
        )


@dataclass(frozen=True, slots=True)
class Change:
    tenant: int
    generation: int
    document: int
    texts: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Question:
    vector: tuple[int, ...] | None
    words: tuple[str, ...] | None
    limit: int


@dataclass(slots=True)
class Model:
    """What an index should hold, and how it should score it."""

    documents: dict[Scope, dict[UUID, tuple[Point, ...]]] = field(default_factory=dict)

    def apply(self, replacement: Replacement) -> None:
        scope = Scope(tenant=replacement.tenant, generation=replacement.generation, fingerprint=replacement.fingerprint)
        self.documents.setdefault(scope, {})[replacement.document_id] = replacement.points

    def points(self, scope: Scope) -> list[Point]:
        return [point for points in self.documents.get(scope, {}).values() for point in points]

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
        allowed: set[UUID] = set()
        if question.vector is not None:
            exact = self.cosine(scope, _vector(question.vector, dimensions))
            must, may = _best(exact, question.limit, tolerance=0.02)
            assert must <= found.keys()
            allowed |= may
            assert all(math.isclose(hit.cosine or 0, exact[i], abs_tol=1e-3) for i, hit in found.items())
        if question.words is not None:
            exact = self.bm25(scope, question.words)
            must, may = _best({i: score for i, score in exact.items() if score > 0}, question.limit, tolerance=1e-4)
            assert must <= found.keys()
            allowed |= may
            assert all(math.isclose(hit.bm25 or 0, exact[i], abs_tol=1e-4) for i, hit in found.items())
        assert found.keys() <= allowed
        assert all((hit.cosine is None) == (question.vector is None) for hit in hits)
        assert all((hit.bm25 is None) == (question.words is None) for hit in hits)


class IndexContract:
    """Subclasses give the `index` fixture: empty, and fed by nobody else."""

    @given(data=st.data())
    # Not shrunk: an example takes an index half a second.
    @settings(
        max_examples=10,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )
    async def test_any_history_gives_the_scores_of_what_stands(self, index: Index, data: st.DataObject) -> None:
        model = Model()
        generations = [uuid4(), uuid4()]
        position = await index.position()
        for changes in data.draw(st.lists(st.lists(CHANGES, min_size=1, max_size=6), max_size=4), label="batches"):
            batch = [replacement(change, name, generations) for change in changes for name in SPACES]
            position += len(changes)
            await index.apply(batch, position)
            assert await index.position() == position
            for each in batch:
                model.apply(each)
        for question in data.draw(st.lists(QUESTIONS, min_size=1, max_size=4), label="questions"):
            for scope in scopes(generations):
                dimensions = SPACES[scope.fingerprint]
                hits = await ask(index, scope, question)
                model.check(scope, question, hits, dimensions)
                assert await index.count(scope) == len(model.points(scope))

    async def test_an_empty_scope_gives_nothing(self, index: Index) -> None:
        scope = Scope(tenant="a", generation=uuid4(), fingerprint="space-a")
        assert await ask(index, scope, Question((1,) * 8, ("fox",), 10)) == []
        assert await index.count(scope) == 0

    async def test_another_tenant_with_the_same_generation_sees_nothing(self, index: Index) -> None:
        mine = one_document("a", "fox owl", "fox")
        await index.apply([mine], await index.position() + 1)
        theirs = Scope(tenant="b", generation=mine.generation, fingerprint="space-a")
        assert await ask(index, theirs, Question((1,) * 8, ("fox",), 10)) == []
        assert await index.count(theirs) == 0

    async def test_words_of_others_do_not_change_a_score(self, index: Index) -> None:
        mine = one_document("a", "fox owl", "newt")
        scope = scope_of(mine)
        await index.apply([mine], await index.position() + 1)
        before = await ask(index, scope, Question(None, ("fox", "newt"), 10))
        await index.apply([one_document("b", *["fox"] * 30)], await index.position() + 1)
        after = await ask(index, scope, Question(None, ("fox", "newt"), 10))
        assert scores(after) == scores(before)

    async def test_repeating_a_call_changes_nothing(self, index: Index) -> None:
        first, second = one_document("a", "fox", "owl"), one_document("a", "newt")
        position = await index.position() + 1
        await index.apply([first, second], position)
        before = await ask(index, scope_of(first), Question((1,) * 8, ("fox",), 10))
        await index.apply([first, second], position)
        assert await index.position() == position
        assert await index.count(scope_of(first)) == 2
        assert scores(await ask(index, scope_of(first), Question((1,) * 8, ("fox",), 10))) == scores(before)

    async def test_the_last_of_several_states_in_one_call_stands(self, index: Index) -> None:
        first = one_document("a", "fox", "owl")
        newer = Replacement(
            tenant="a", collection=first.collection, generation=first.generation, fingerprint="space-a",
            dimensions=8, document_id=first.document_id, points=(Text(("newt",), (1,) * 8).point(8),),
        )  # fmt: skip
        await index.apply([first, newer], await index.position() + 1)
        hits = await ask(index, scope_of(first), Question((1,) * 8, ("newt",), 10))
        assert [hit.chunk_id for hit in hits] == [newer.points[0].chunk_id]

    async def test_a_deleted_document_is_gone(self, index: Index) -> None:
        stays = one_document("a", "fox", "owl")
        goes = Replacement(
            tenant="a", collection=stays.collection, generation=stays.generation, fingerprint="space-a",
            dimensions=8, document_id=uuid4(), points=(Text(("fox",), (1,) * 8).point(8),),
        )  # fmt: skip
        gone = Replacement(
            tenant="a", collection=stays.collection, generation=stays.generation, fingerprint="space-a",
            dimensions=8, document_id=goes.document_id, points=(),
        )  # fmt: skip
        position = await index.position()
        await index.apply([stays, goes], position + 1)
        assert await index.count(scope_of(stays)) == 3
        await index.apply([gone], position + 2)
        hits = await ask(index, scope_of(stays), Question((1,) * 8, ("fox",), 10))
        assert {hit.chunk_id for hit in hits} == {point.chunk_id for point in stays.points}

    async def test_deleting_what_never_was_is_no_error(self, index: Index) -> None:
        nothing = Replacement(
            tenant="a", collection=uuid4(), generation=uuid4(), fingerprint="space-nobody-has", dimensions=3,
            document_id=uuid4(), points=(),
        )  # fmt: skip
        position = await index.position() + 7
        await index.apply([nothing], position)
        assert await index.position() == position

    async def test_a_question_without_a_known_word_has_bm25_zero(self, index: Index) -> None:
        mine = one_document("a", "fox owl", "newt")
        await index.apply([mine], await index.position() + 1)
        for text in ("", "   ", "the of and", "zebra", "\udcff", "!?"):
            hits = await index.search(scope_of(mine), vector=np.ones(8, dtype=np.float32), text=text, limit=10)
            assert {hit.bm25 for hit in hits} == {0.0}
            assert len(hits) == 2
            assert await index.search(scope_of(mine), vector=None, text=text, limit=10) == []
        assert await index.search(scope_of(mine), vector=None, text=None, limit=10) == []

    async def test_words_meet_in_their_stem_and_without_accents(self, index: Index) -> None:
        mine = one_document("a", "The foxes were running past cafés", "owl")
        await index.apply([mine], await index.position() + 1)
        for text in ("fox", "Runs", "cafe", "FOXES café"):
            hits = await index.search(scope_of(mine), vector=None, text=text, limit=10)
            assert [hit.chunk_id for hit in hits] == [mine.points[0].chunk_id], text

    async def test_a_large_document_is_replaced_whole(self, index: Index) -> None:
        large = one_document("a", *(f"fox owl{i}" for i in range(450)))
        await index.apply([large], await index.position() + 1)
        assert await index.count(scope_of(large)) == 450
        hits = await ask(index, scope_of(large), Question((1,) * 8, ("fox",), 1000))
        assert len(hits) == 450
        small = Replacement(
            tenant="a", collection=large.collection, generation=large.generation, fingerprint="space-a",
            dimensions=8, document_id=large.document_id, points=large.points[100:103],
        )  # fmt: skip
        await index.apply([small], await index.position() + 1)
        hits = await ask(index, scope_of(large), Question((1,) * 8, ("fox",), 1000))
        assert {hit.chunk_id for hit in hits} == {point.chunk_id for point in small.points}

    async def test_one_can_wait_for_a_position(self, index: Index) -> None:
        position = await index.position()
        assert await index.wait(position, timeout=0)
        assert not await index.wait(position + 1, timeout=0.05)
        waiting = asyncio.create_task(index.wait(position + 3, timeout=30))
        await asyncio.sleep(0.05)
        await index.apply([], position + 2)
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await index.apply([one_document("a", "fox")], position + 4)
        assert await waiting


def one_document(tenant: str, *texts: str) -> Replacement:
    """A document in a generation of its own; vectors differ from text to text."""
    points = tuple(
        Point(chunk_id=uuid4(), text=text, vector=np.array([1, i, -i, 2, 0, 1, i % 3, 1], dtype=np.float32))
        for i, text in enumerate(texts)
    )
    return Replacement(
        tenant=tenant, collection=uuid4(), generation=uuid4(), fingerprint="space-a", dimensions=8,
        document_id=uuid4(), points=points,
    )  # fmt: skip


def scope_of(replacement: Replacement) -> Scope:
    return Scope(tenant=replacement.tenant, generation=replacement.generation, fingerprint=replacement.fingerprint)


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
    )


async def ask(index: Index, scope: Scope, question: Question) -> list[Hit]:
    vector = None if question.vector is None else _vector(question.vector, SPACES[scope.fingerprint])
    text = None if question.words is None else " ".join(question.words)
    return await index.search(scope, vector=vector, text=text, limit=question.limit)


def scores(hits: Iterable[Hit]) -> dict[UUID, tuple[float, float]]:
    return {hit.chunk_id: (round(hit.cosine or 0, 5), round(hit.bm25 or 0, 5)) for hit in hits}


def _vector(components: Sequence[int], dimensions: int) -> Vector:
    return np.array(components[:dimensions], dtype=np.float32)


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
    Change, st.integers(0, 1), st.integers(0, 1), st.integers(0, 3), st.lists(TEXTS, max_size=4).map(tuple)
)
QUESTIONS = st.builds(
    Question,
    st.none() | VECTORS,
    st.none() | st.lists(st.sampled_from((*WORDS, "zebra")), max_size=3).map(tuple),
    st.sampled_from([1, 2, 5, 100]),
)
