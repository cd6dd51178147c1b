"""Searches within a filter, and how broad they are."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import cycle
from uuid import uuid4

from contracts.filters import NAMES, VALUES
from contracts.points import Question, ask, found, one_document, scanned, scope_of, scores
from ragstone.index.base import Index
from ragstone.index.filters import DEEPEST, MOST, And, Exists, Filter, In, Not, Or, Range, matches
from ragstone.index.terms import terms


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

    async def test_odd_names_and_values_are_found_and_told_apart(self, index: Index) -> None:
        """A document for each value, and each value of every field asked for."""
        first = one_document("a")
        documents = [
            replace(one_document("a", "fox", fields={name: (value,)}), generation=first.generation)
            for name, value in zip(cycle(NAMES), VALUES, strict=False)
        ]
        await index.apply(documents, await index.position() + 1)
        asked: list[Filter] = [
            *(In(name, (value,)) for each in documents for name, (value,) in each.fields.items()),
            *(Exists(name) for name in NAMES),
            *(Range(name, dates=dates, gte=-3.0, lt=2e9) for name in NAMES for dates in (False, True)),
        ]
        counted = await asyncio.gather(*(index.count(scope_of(first), where) for where in asked))
        stored = [terms(each.fields) for each in documents]
        assert counted == [sum(matches(where, each) for each in stored) for where in asked]

    async def test_a_filter_may_be_as_deep_and_as_wide_as_filters_are(self, index: Index) -> None:
        mine = one_document("a", "fox", fields={"year": (MOST - 1,)})
        await index.apply([mine], await index.position() + 1)
        wide = In("year", tuple(range(MOST)))
        deep: Filter = wide
        for level in range(DEEPEST):
            around: list[Filter] = [Not(deep), And((deep, Exists("year"))), Or((deep, Exists("nobody has")))]
            deep = around[level % 3]
        for where in (wide, deep):
            expected = {mine.points[0].chunk_id} if matches(where, terms(mine.fields)) else set()
            assert await found(index, scope_of(mine), where) == expected
            assert await found(index, scope_of(mine), Not(where)) == {mine.points[0].chunk_id} - expected

    async def test_a_change_of_fields_alone_is_seen(self, index: Index) -> None:
        """The chunks and what they say stay as they are; their hashes change."""
        old = one_document("a", "fox", "owl", fields={"tags": ("old", "both"), "year": (2020,)})
        points = tuple(replace(point, hash=uuid4().bytes) for point in old.points)
        new = replace(old, fields={"tags": ("new", "both")}, points=points)
        scope, chunks = scope_of(old), {point.chunk_id for point in old.points}
        position = await index.position()
        await index.apply([old], position + 1)
        assert await found(index, scope, Range("year", gte=2020)) == chunks
        await index.apply([new], position + 2)
        assert await found(index, scope, In("tags", ("new",))) == chunks
        for gone in (In("tags", ("old",)), Exists("year"), Range("year", gte=0)):
            assert await found(index, scope, gone) == set()
        assert {entry.chunk_id: entry.hash for entry in await scanned(index, scope)} == {
            point.chunk_id: point.hash for point in points
        }

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
