"""Searches within a filter, and how broad they are."""

from __future__ import annotations

from dataclasses import replace

from contracts.points import Question, ask, found, one_document, scope_of, scores
from ragstone.index.base import Index
from ragstone.index.filters import And, Exists, Filter, In, Not, Or, Range


class FilteringContract:
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
