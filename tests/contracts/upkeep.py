"""What audits, upkeep and operators ask of an index."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar
from uuid import uuid4

import numpy as np
import pytest

from contracts.points import SPACE_A, SPACE_B, Question, again, ask, found, one_document, scanned, scope_of, scores
from contracts.scoring import Text
from ragstone.errors import WrongDimensions
from ragstone.index.base import Index
from ragstone.index.filters import In
from ragstone.models import Entry, Scope


class UpkeepContract:
    engine: ClassVar[str]

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
