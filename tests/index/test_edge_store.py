"""What the edge index keeps on disk: number keys with an index and without, and folders that go with their points."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from contracts.points import SPACE_A, again, one_document, scope_of
from ragstone.index.edge import store as edge_store
from ragstone.index.edge.builder import Builder
from ragstone.index.edge.local import LocalIndex
from ragstone.index.filters import And, Filter, Not, Range
from ragstone.models import Fields, Replacement

KEYS = ("n_a", "n_b", "n_c", "n_d")
FIELDS: Fields = {"a": (1,), "b": (2,), "c": (3, 5.5), "d": (-4,)}


async def found(index: LocalIndex, document: Replacement, where: Filter) -> set[UUID]:
    """What a search within the filter finds, as many as are counted."""
    hits = index.store.search(
        scope_of(document), vector=np.ones(8, dtype=np.float32), text="fox", limit=100, where=where, ef=64, exact=False
    )
    assert len(hits) == index.store.count(scope_of(document), where)
    return {hit.chunk_id for hit in hits}


async def assert_ranges_hold(index: LocalIndex, document: Replacement, other: Replacement) -> None:
    chunks = {point.chunk_id for point in document.points}
    others = {point.chunk_id for point in other.points}
    for inside in (Range("a", gte=1), Range("b", lt=3), Range("c", gt=3, lte=6), Range("d", lte=-4, gt=-5)):
        assert await found(index, document, inside) == chunks
        assert await found(index, document, Not(inside)) == others
    for outside in (Range("a", gt=1), Range("c", gt=3.5, lt=5), Range("d", gte=0), Range("nobody has", gte=0)):
        assert await found(index, document, outside) == set()
        assert await found(index, document, And((Not(outside), Range("a", gte=0)))) == chunks


async def test_more_number_keys_than_get_an_index_are_right_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_store, "MOST_NUMBERS", 2)
    index = LocalIndex(tmp_path)
    document = one_document("a", "fox", "owl", fields=FIELDS)
    other = again(one_document("a", "fox"), generation=document.generation)
    await index.apply([document, other], 1)
    assert index.store.shards[SPACE_A].indexed & set(KEYS) == {"n_a", "n_b"}
    await assert_ranges_hold(index, document, other)
    index.close()


async def test_a_number_key_that_comes_late_gets_its_index_with_the_next_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making it reads every point: searches of a large space do not wait for that."""
    monkeypatch.setattr(edge_store, "INDEX_AT_ONCE", 0)
    index = LocalIndex(tmp_path)
    other = one_document("a", "fox")
    await index.apply([other], 1)
    document = again(one_document("a", "fox", "owl", fields=FIELDS), generation=other.generation)
    await index.apply([document], 2)
    assert not index.store.shards[SPACE_A].indexed & set(KEYS)
    await assert_ranges_hold(index, document, other)
    building = asyncio.create_task(Builder(index, build_after=10_000).run())
    async with asyncio.timeout(60):
        while not index.store.shards[SPACE_A].indexed.issuperset(KEYS):  # noqa: ASYNC110 (made by another process)
            await asyncio.sleep(0.02)
    building.cancel()
    await assert_ranges_hold(index, document, other)
    index.close()


async def test_the_shard_of_a_space_goes_with_its_last_scope(tmp_path: Path) -> None:
    index = LocalIndex(tmp_path)
    first, second = one_document("a", "fox"), one_document("b", "fox")
    await index.apply([first, second], 1)
    await index.drop(scope_of(first))
    assert len(list(tmp_path.glob("shard-*"))) == 1
    await index.drop(scope_of(second))
    assert not list(tmp_path.glob("shard-*"))
    index.close()
    again_opened = LocalIndex(tmp_path)
    assert (await again_opened.position(), again_opened.store.scopes()) == (1, [])
    again_opened.close()
