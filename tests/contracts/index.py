"""What every index keeps to, checked against scores that are worked out here from the formulas alone.

An engine's test file subclasses IndexContract, names its `engine` and gives the fixture `index`. What was written by
one test may still be there in the next: each uses scopes of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contracts.filtering import FilteringContract
from contracts.points import SPACE_A, SPACES, Question, ask, one_document, scope_of, scores
from contracts.scoring import CHANGES, QUESTIONS, Model, Text, agree, replacement, scopes
from contracts.upkeep import UpkeepContract
from ragstone.index.base import Index
from ragstone.models import Replacement, Scope

__all__ = ["IndexContract", "Question", "ask", "one_document", "scope_of", "scores"]


class IndexContract(FilteringContract, UpkeepContract):
    """Subclasses give the `index` fixture, fed by nobody else."""

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
        for question in data.draw(st.lists(QUESTIONS, min_size=1, max_size=3), label="questions"):
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

    async def test_a_search_meanwhile_meets_every_document(self, index: Index) -> None:
        """Old points, new ones or both, while documents are replaced again and again."""
        first = one_document("a")
        documents = [first, *(replace(first, document_id=uuid4()) for _ in range(3))]
        states = [
            [replace(each, points=one_document("a", *["fox"] * 25).points) for each in documents] for _ in range(4)
        ]
        owners = {point.chunk_id: each.document_id for state in states for each in state for point in each.points}
        position = await index.position() + 1
        await index.apply(states[0], position)
        replacing = asyncio.create_task(_apply_each(index, states[1:], position + 1))
        searched = 0
        while not replacing.done() or not searched:
            hits = await ask(index, scope_of(first), Question((1,) * 8, ("fox",), 1000))
            assert {owners[hit.chunk_id] for hit in hits} == {each.document_id for each in documents}
            searched += 1
            await asyncio.sleep(0)  # an engine in this process may never wait for anything by itself
        await replacing
        hits = await ask(index, scope_of(first), Question((1,) * 8, ("fox",), 1000))
        assert {hit.chunk_id for hit in hits} == {point.chunk_id for each in states[-1] for point in each.points}


async def _apply_each(index: Index, states: Sequence[Sequence[Replacement]], position: int) -> None:
    for turn, state in enumerate(states):
        await index.apply(state, position + turn)
