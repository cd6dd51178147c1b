"""What every index keeps to, checked against scores that are worked out here from the formulas alone.

An engine's test file subclasses IndexContract, names its `engine` and gives the fixture `index`. What was written by
one test may still be there in the next: each uses scopes of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import ClassVar
from uuid import UUID, uuid4

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contracts.filters import FIELDS, FILTERS
from ragstone.errors import WrongDimensions
from ragstone.index.base import Index
from ragstone.index.filters import And, Exists, Filter, In, Not, Or, Range, matches
from ragstone.index.lexical import AVERAGE_LENGTH, B, K
from ragstone.index.terms import terms
from ragstone.models import Entry, Fields, Hit, Point, Replacement, Scope

SPACE_A, SPACE_B = (sha256(name).hexdigest() for name in (b"a", b"b"))
SPACES = {SPACE_A: 8, SPACE_B: 5}
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


@dataclass(frozen=True, slots=True)
class Question:
    vector: tuple[int, ...] | None
    words: tuple[str, ...] | None
    limit: int
    where: Filter | None = None


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
            exact = _only(inside, self.cosine(scope, _vector(question.vector, dimensions)))
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


class IndexContract:
    """Subclasses give the `index` fixture, fed by nobody else."""

    engine: ClassVar[str]

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
            await asyncio.gather(*(agree(index, model, scope, question) for scope in scopes(generations)))

    async def test_an_empty_scope_gives_nothing(self, index: Index) -> None:
        scope = Scope(tenant="a", generation=uuid4(), fingerprint=SPACE_A)
        assert await ask(index, scope, Question((1,) * 8, ("fox",), 10)) == []
        assert await index.count(scope) == 0

    async def test_another_tenant_with_the_same_generation_sees_nothing(self, index: Index) -> None:
        mine = one_document("a", "fox owl", "fox")
        await index.apply([mine], await index.position() + 1)
        theirs = Scope(tenant="b", generation=mine.generation, fingerprint=SPACE_A)
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
        newer = replace(first, points=(Text(("newt",), (1,) * 8).point(8),))
        await index.apply([first, newer], await index.position() + 1)
        hits = await ask(index, scope_of(first), Question((1,) * 8, ("newt",), 10))
        assert [hit.chunk_id for hit in hits] == [newer.points[0].chunk_id]

    async def test_a_deleted_document_is_gone(self, index: Index) -> None:
        stays = one_document("a", "fox", "owl")
        goes = replace(stays, document_id=uuid4(), points=(Text(("fox",), (1,) * 8).point(8),))
        gone = replace(goes, points=(), fields={})
        position = await index.position()
        await index.apply([stays, goes], position + 1)
        assert await index.count(scope_of(stays)) == 3
        await index.apply([gone], position + 2)
        hits = await ask(index, scope_of(stays), Question((1,) * 8, ("fox",), 10))
        assert {hit.chunk_id for hit in hits} == {point.chunk_id for point in stays.points}

    async def test_deleting_what_never_was_is_no_error(self, index: Index) -> None:
        nothing = Replacement(
            tenant="a", collection=uuid4(), generation=uuid4(), fingerprint=uuid4().hex * 2,
            dimensions=3, document_id=uuid4(), points=(),
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
        small = replace(large, points=large.points[100:103])
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

    # --- filters ------------------------------------------------------------------------------------------------

    async def test_a_filter_is_inside_the_search(self, index: Index) -> None:
        """Where the best are let out, the next best come in their place."""
        best = one_document("a", *["fox fox"] * 30, fields={"tags": ("old",)})
        other = replace(one_document("a", "fox owl newt", fields={"tags": ("new",)}), generation=best.generation)
        await index.apply([best, other], await index.position() + 1)
        vector = best.points[0].vector
        for where in (In("tags", ("new",)), Not(In("tags", ("old",)))):
            for exact in (False, True):
                for asked, text in ((vector, None), (None, "fox"), (vector, "fox")):
                    hits = await index.search(
                        scope_of(best), vector=asked, text=text, limit=1, where=where, exact=exact
                    )
                    assert [hit.chunk_id for hit in hits] == [other.points[0].chunk_id]

    async def test_rarity_is_counted_in_the_scope_whatever_the_filter(self, index: Index) -> None:
        first = one_document("a", "fox owl", "fox", fields={"year": (1,)})
        second = replace(
            one_document("a", "fox", "owl", "owl newt", fields={"year": (2,)}), generation=first.generation
        )
        await index.apply([first, second], await index.position() + 1)
        everything = scores(await ask(index, scope_of(first), Question(None, ("fox", "owl"), 10)))
        inside = scores(await ask(index, scope_of(first), Question(None, ("fox", "owl"), 10, In("year", (1,)))))
        assert inside == {point.chunk_id: everything[point.chunk_id] for point in first.points}

    async def test_a_filter_holds_for_each_value_of_a_list(self, index: Index) -> None:
        mine = one_document("a", "fox", fields={"tags": ("python", "go", 3, 7.5, "2024-05-01")})
        await index.apply([mine], await index.position() + 1)
        chunk = {mine.points[0].chunk_id}
        inside: list[Filter] = [
            In("tags", ("go",)), In("tags", ("rust", 7.5)), Exists("tags"), Range("tags", gt=3, lt=8),
            Range("tags", dates=True, gte=1714521600.0, lte=1714521600.0), And(()), And((Exists("tags"), Not(Or(())))),
        ]  # fmt: skip
        outside: list[Filter] = [
            In("tags", ("Go", "3", True)), In("tags", ()), Exists("tag"), Range("tags", gt=7.5), Range("tags", lt=3),
            Range("tags", dates=True, gt=1714521600.0), Or(()), Not(And(())),
        ]  # fmt: skip
        for where in inside:
            assert await found(index, scope_of(mine), where) == chunk, where
            assert await found(index, scope_of(mine), Not(where)) == set(), where
        for where in outside:
            assert await found(index, scope_of(mine), where) == set(), where

    async def test_a_change_of_fields_alone_is_seen(self, index: Index) -> None:
        old = one_document("a", "fox", "owl", fields={"tags": ("old", "both"), "year": (2020,)})
        new = replace(old, fields={"tags": ("new", "both")})
        scope, chunks = scope_of(old), {point.chunk_id for point in old.points}
        position = await index.position()
        await index.apply([old], position + 1)
        assert await found(index, scope, Range("year", gte=2020)) == chunks
        await index.apply([new], position + 2)
        assert await found(index, scope, In("tags", ("new",))) == chunks
        for gone in (In("tags", ("old",)), Exists("year"), Range("year", gte=0)):
            assert await found(index, scope, gone) == set()

    # --- how it is searched -------------------------------------------------------------------------------------

    async def test_the_breadth_of_a_search_may_be_told(self, index: Index) -> None:
        mine = one_document("a", *["fox", "owl"] * 10)
        await index.apply([mine], await index.position() + 1)
        vector = mine.points[7].vector
        for ef in (1, 16, 500):
            hits = await index.search(scope_of(mine), vector=vector, text="fox", limit=5, ef=ef)
            assert mine.points[7].chunk_id in {hit.chunk_id for hit in hits if (hit.cosine or 0) > 0.999}

    async def test_a_limit_of_one_finds_one_of_each_kind(self, index: Index) -> None:
        mine = one_document("a", "owl", "owl", "owl", "fox")
        await index.apply([mine], await index.position() + 1)
        hits = await index.search(scope_of(mine), vector=mine.points[0].vector, text="fox", limit=1)
        assert {hit.chunk_id for hit in hits} == {mine.points[0].chunk_id, mine.points[3].chunk_id}

    # --- dimensions ---------------------------------------------------------------------------------------------

    async def test_a_vector_of_another_length_changes_nothing(self, index: Index) -> None:
        stands = one_document("a", "fox", "owl", fields={"year": (1,)})
        position = await index.position() + 1
        await index.apply([stands], position)
        changed = replace(stands, points=stands.points[:1])
        added = one_document("a", "newt")
        short = replace(stands.points[0], vector=np.ones(5, dtype=np.float32))
        for wrong in (
            replace(added, document_id=uuid4(), points=(*added.points, short)),
            replace(added, document_id=uuid4(), points=(short,), dimensions=5),
            replace(added, fingerprint=uuid4().hex * 2, points=(short,)),
        ):
            with pytest.raises(WrongDimensions):
                await index.apply([changed, added, wrong], position + 1)
        assert await index.position() == position
        assert {entry.chunk_id for entry in await scanned(index, scope_of(stands))} == {
            point.chunk_id for point in stands.points
        }
        assert await index.count(scope_of(added)) == 0

    async def test_a_question_of_another_length_is_refused(self, index: Index) -> None:
        mine = one_document("a", "fox")
        await index.apply([mine], await index.position() + 1)
        for dimensions in (3, 9):
            vector = np.ones(dimensions, dtype=np.float32)
            with pytest.raises(WrongDimensions):
                await index.search(scope_of(mine), vector=vector, text="fox", limit=1)

    # --- audits and upkeep --------------------------------------------------------------------------------------

    async def test_a_scan_gives_every_point_once_by_its_id(self, index: Index) -> None:
        large = one_document("a", *["fox"] * 450)
        small = [replace(one_document("a", "fox"), generation=large.generation) for _ in range(3)]
        elsewhere = [again(small[0], tenant="b"), again(small[0], generation=uuid4())]
        await index.apply([large, *small, *elsewhere], await index.position() + 1)
        wanted = [
            Entry(chunk_id=point.chunk_id, document_id=each.document_id, hash=point.hash)
            for each in (large, *small)
            for point in each.points
        ]
        assert await scanned(index, scope_of(large)) == sorted(wanted, key=lambda entry: entry.chunk_id)
        assert await scanned(index, replace(scope_of(large), generation=uuid4())) == []

    async def test_it_names_the_scopes_that_hold_a_point(self, index: Index) -> None:
        """Two tenants, two generations, two spaces, and one that was emptied again."""
        before = set(await index.scopes())
        in_a = one_document("a", "fox")
        in_b = replace(in_a, fingerprint=SPACE_B, dimensions=5, points=(Text(("fox",), (1,) * 8).point(5),))
        made = [in_a, again(in_a, tenant="b"), again(in_a, generation=uuid4()), in_b]
        emptied = one_document("a", "fox")
        position = await index.position()
        await index.apply([*made, emptied, one_document("c")], position + 1)
        await index.apply([replace(emptied, points=())], position + 2)
        listed = await index.scopes()
        assert len(listed) == len(set(listed))
        assert set(listed) - before == {scope_of(each) for each in made}

    async def test_a_scope_is_dropped_alone_and_can_be_filled_again(self, index: Index) -> None:
        goes = one_document("a", "fox owl", "owl", fields={"year": (1,)})
        stays = [again(goes, tenant="b"), again(goes, generation=uuid4())]
        position = await index.position() + 1
        await index.apply([goes, *stays], position)
        question = Question((1,) * 8, ("fox",), 10)
        before = {scope_of(each): scores(await ask(index, scope_of(each), question)) for each in (goes, *stays)}
        await index.drop(scope_of(goes))
        assert await ask(index, scope_of(goes), question) == []
        assert await index.count(scope_of(goes)) == 0
        assert await scanned(index, scope_of(goes)) == []
        assert scope_of(goes) not in await index.scopes()
        for each in stays:
            assert scores(await ask(index, scope_of(each), question)) == before[scope_of(each)]
        assert await index.position() == position
        await index.drop(scope_of(goes))
        await index.apply([goes], position + 1)
        assert scores(await ask(index, scope_of(goes), question)) == before[scope_of(goes)]

    async def test_dropping_what_never_was_is_no_error(self, index: Index) -> None:
        await index.drop(Scope(tenant="nobody", generation=uuid4(), fingerprint=SPACE_A))
        await index.drop(Scope(tenant="nobody", generation=uuid4(), fingerprint=uuid4().hex * 2))

    async def test_tenants_may_be_called_anything(self, index: Index) -> None:
        """Names that differ in case, blanks or accents alone are different tenants."""
        odd = "ac/me\\ \"x\" 'y' %s {z} $1; -- 日本\n"
        names = ["acme", "Acme", "acme ", "acmé", "acme\u0301", "../acme", odd, (odd * 9)[:100], (odd * 9)[:99], "*"]
        first = one_document(names[0], "fox", fields={"tags": ("a",)})
        made = [replace(first, tenant=name, points=one_document("", "fox", "owl").points) for name in names]
        before = set(await index.scopes())
        await index.apply(made, await index.position() + 1)
        assert set(await index.scopes()) - before == {scope_of(each) for each in made}
        for each in made:
            chunks = {point.chunk_id for point in each.points}
            assert await found(index, scope_of(each), In("tags", ("a",))) == chunks, each.tenant
        await index.drop(scope_of(made[0]))
        await index.apply([replace(made[1], points=())], await index.position() + 1)
        assert set(await index.scopes()) - before == {scope_of(each) for each in made[2:]}

    async def test_equal_texts_are_points_of_their_own(self, index: Index) -> None:
        first = one_document("a", *["fox"] * 3)
        copies = [
            replace(first, document_id=uuid4(), points=tuple(replace(p, chunk_id=uuid4()) for p in first.points))
            for _ in range(20)
        ]
        position = await index.position()
        await index.apply([first, *copies], position + 1)
        assert await index.count(scope_of(first)) == 63
        await index.apply(
            [replace(copies[0], points=()), replace(copies[1], points=copies[1].points[1:])], position + 2
        )
        hits = await ask(index, scope_of(first), Question((1,) * 8, ("fox",), 100))
        wanted = [first.points, copies[1].points[1:], *(each.points for each in copies[2:])]
        assert {hit.chunk_id for hit in hits} == {point.chunk_id for points in wanted for point in points}

    async def test_it_reports_its_health(self, index: Index) -> None:
        before = await index.health()
        position = await index.position() + 1
        await index.apply([one_document("a", "fox", "owl", "newt")], position)
        health = await index.health()
        assert health.engine == self.engine
        assert health.version
        assert health.state in {"ready", "building"}
        assert health.position == position
        assert health.points - before.points == 3
        assert 0 <= health.unbuilt <= health.points

    async def test_an_empty_call_never_moves_the_position_back(self, index: Index) -> None:
        position = await index.position() + 5
        await index.apply([], position)
        await index.apply([], position - 3)
        assert await index.position() == position

    async def test_a_reset_forgets_everything(self, index: Index) -> None:
        mine = one_document("a", "fox", fields={"year": (1,)})
        await index.reset("one")
        await index.apply([mine], 7)
        assert (await index.source(), await index.position()) == ("one", 7)
        await index.reset("two")
        assert (await index.source(), await index.position()) == ("two", 0)
        assert await index.scopes() == []
        assert await index.count(scope_of(mine)) == 0
        assert (await index.health()).points == 0
        await index.apply([mine], 3)
        assert await found(index, scope_of(mine), In("year", (1,))) == {mine.points[0].chunk_id}
        assert (await index.source(), await index.position()) == ("two", 3)


def one_document(tenant: str, *texts: str, fields: Fields | None = None) -> Replacement:
    """A document in a generation of its own; vectors differ from text to text."""
    points = tuple(
        Point(
            chunk_id=uuid4(),
            text=text,
            vector=np.array([1, i, -i, 2, 0, 1, i % 3, 1], dtype=np.float32),
            hash=uuid4().bytes,
        )
        for i, text in enumerate(texts)
    )
    return Replacement(
        tenant=tenant, collection=uuid4(), generation=uuid4(), fingerprint=SPACE_A, dimensions=8,
        document_id=uuid4(), points=points, fields=fields or {},
    )  # fmt: skip


def again(document: Replacement, *, tenant: str | None = None, generation: UUID | None = None) -> Replacement:
    """The same document elsewhere: its chunks have ids of their own there."""
    points = tuple(replace(point, chunk_id=uuid4()) for point in document.points)
    return replace(
        document, points=points, tenant=tenant or document.tenant, generation=generation or document.generation
    )


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
        fields=change.fields,
    )


async def ask(index: Index, scope: Scope, question: Question) -> list[Hit]:
    vector = None if question.vector is None else _vector(question.vector, SPACES[scope.fingerprint])
    text = None if question.words is None else " ".join(question.words)
    return await index.search(scope, vector=vector, text=text, limit=question.limit, where=question.where)


async def agree(index: Index, model: Model, scope: Scope, question: Question) -> None:
    """The index finds and counts in a scope what the model says that it should."""
    model.check(scope, question, await ask(index, scope, question), SPACES[scope.fingerprint])
    assert await index.count(scope, question.where) == len(model.points(scope, question.where))


async def scanned(index: Index, scope: Scope) -> list[Entry]:
    return [entry async for batch in index.scan(scope) for entry in batch]


async def found(index: Index, scope: Scope, where: Filter) -> set[UUID]:
    """The chunks that a search within the filter finds, whatever its kind."""
    question = Question((1,) * 8, ("fox",), 1000, where)
    hits = await ask(index, scope, question)
    assert len(hits) == await index.count(scope, where)
    return {hit.chunk_id for hit in hits}


def scores(hits: Iterable[Hit]) -> dict[UUID, tuple[float, float]]:
    return {hit.chunk_id: (round(hit.cosine or 0, 5), round(hit.bm25 or 0, 5)) for hit in hits}


def _only(inside: set[UUID], scores: dict[UUID, float]) -> dict[UUID, float]:
    return {i: score for i, score in scores.items() if i in inside}


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
    Change, st.integers(0, 1), st.integers(0, 1), st.integers(0, 3), st.lists(TEXTS, max_size=4).map(tuple), FIELDS
)
QUESTIONS = st.builds(
    Question,
    st.none() | VECTORS,
    st.none() | st.lists(st.sampled_from((*WORDS, "zebra")), max_size=3).map(tuple),
    st.sampled_from([1, 2, 5, 100]),
    st.none() | FILTERS,
)
