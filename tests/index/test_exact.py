"""The exact index keeps the contract, and goes on keeping it when most of what was written is replaced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.congruence import CongruenceContract, World
from contracts.index import IndexContract
from contracts.points import found, one_document, scanned, scope_of
from ragstone.errors import WrongDimensions
from ragstone.index.base import Index
from ragstone.index.exact import ExactIndex
from ragstone.index.filters import Filter, In, Range
from ragstone.models import Hit, Replacement


class TestExactIndex(IndexContract, CongruenceContract):
    engine = "exact"

    @pytest.fixture
    def index(self) -> Index:
        return ExactIndex()


async def test_what_was_replaced_many_times_is_as_if_it_had_always_been_so() -> None:
    """30 documents are replaced 16 times, and searched within the same filters after each time."""
    world = World(np.random.default_rng(5), 0)
    scope, index = world.scopes[0], ExactIndex()
    filters: list[Filter | None] = [None, Range("sample", lt=0.4), In("tags", ("python",))]
    documents = [world.document("large", 10) for _ in range(30)]
    for turn in range(16):
        documents = [replace(world.document("large", 10), document_id=each.document_id) for each in documents]
        await index.apply([*documents, *([replace(documents[0], points=())] if turn % 2 else [])], turn + 1)
        fresh = await _made_of(documents[1:] if turn % 2 else documents)
        vector, text = world.question()
        for where in filters:
            hits = [
                await each.search(scope, vector=vector, text=text, limit=20, where=where) for each in (index, fresh)
            ]
            assert _sorted(hits[0]) == _sorted(hits[1])
            assert await index.count(scope, where) == await fresh.count(scope, where)
        assert await scanned(index, scope) == await scanned(fresh, scope)


async def _made_of(documents: list[Replacement]) -> ExactIndex:
    index = ExactIndex()
    await index.apply(documents, 1)
    return index


def _sorted(hits: list[Hit]) -> list[tuple[object, ...]]:
    return sorted((hit.chunk_id, round(hit.cosine or 0, 5), round(hit.bm25 or 0, 5)) for hit in hits)


async def test_filters_on_one_and_true_are_not_taken_for_each_other() -> None:
    """They are equal in Python."""
    index = ExactIndex()
    number = one_document("a", "fox", fields={"year": (1,)})
    truth = replace(one_document("a", "fox", fields={"year": (True,)}), generation=number.generation)
    await index.apply([number, truth], 1)
    for document, value in ((number, 1), (truth, True), (number, 1.0)):
        assert await found(index, scope_of(number), In("year", (value,))) == {document.points[0].chunk_id}


async def test_more_filters_than_are_remembered_are_all_right() -> None:
    index = ExactIndex()
    documents = [one_document("a", "fox", fields={"year": (year,)}) for year in range(50)]
    documents = [replace(each, generation=documents[0].generation) for each in documents]
    await index.apply(documents, 1)
    for _ in range(2):
        for year, document in enumerate(documents):
            chunks = await found(index, scope_of(document), In("year", (year,)))
            assert chunks == {document.points[0].chunk_id}


async def test_the_message_names_both_lengths() -> None:
    index = ExactIndex()
    mine = one_document("a", "fox")
    await index.apply([mine], 1)
    with pytest.raises(WrongDimensions, match=r"3 numbers.* 8"):
        await index.search(scope_of(mine), vector=np.ones(3, dtype=np.float32), text=None, limit=1)
