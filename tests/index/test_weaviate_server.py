"""What the Weaviate engine sends, and what it makes of a server's refusals, at what stands in for a server."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weaviate.proto.v1 import base_pb2, batch_delete_pb2, batch_pb2, search_get_pb2

from contracts.points import one_document, scope_of
from index.weaviate_stand_in import StandIn
from ragstone.errors import IndexFailure, IndexReadOnly, IndexTooOld, IndexUnavailable, SettingsError
from ragstone.index import lexical
from ragstone.index.filters import In, Range
from ragstone.index.terms import HUGE, Terms
from ragstone.index.weaviate import connect, points, stems, words
from ragstone.index.weaviate.index import WeaviateIndex
from ragstone.index.weaviate.layout import Layout
from ragstone.index.weaviate.server import Server
from ragstone.settings import IndexSettings

NUMBERS = st.floats(-HUGE, HUGE) | st.integers(-5, 5).map(float) | st.just(-0.0)
BOUNDS = st.none() | NUMBERS
CHUNK = UUID(int=7 << 120)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    made = StandIn()
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def index(stand_in: StandIn) -> AsyncIterator[WeaviateIndex]:
    index = WeaviateIndex.open(stand_in.address)
    yield index
    await index.aclose()


# --- words and weights ----------------------------------------------------------------------------------------------


@given(st.lists(NUMBERS, max_size=3), BOUNDS, BOUNDS, BOUNDS, BOUNDS)
def test_a_range_is_the_words_of_the_numbers_in_it(
    numbers: list[float], gt: float | None, gte: float | None, lt: float | None, lte: float | None
) -> None:
    where = Range("year", gt=gt, gte=gte, lt=lt, lte=lte)
    has = words.of_point(Terms((), {"n_year": numbers}), CHUNK)
    asked = words.of_range(where)
    assert (not set(asked).isdisjoint(has)) == any(where.holds(number) for number in numbers)
    assert len(asked) <= 450


@given(NUMBERS)
def test_a_bound_is_in_a_range_or_just_outside(number: float) -> None:
    has = set(words.of_point(Terms((), {"n_year": [number]}), CHUNK))
    for inside in (Range("year", gte=number), Range("year", lte=number), Range("year", gte=number, lte=number)):
        assert not has.isdisjoint(words.of_range(inside))
    for outside in (Range("year", gt=number), Range("year", lt=number), Range("year", gt=number, lte=number)):
        assert has.isdisjoint(words.of_range(outside))


def test_a_range_is_of_its_own_name_only() -> None:
    has = words.of_point(Terms((), {"n_year": [3.0]}), CHUNK)
    assert set(words.of_range(Range("month", gte=0))).isdisjoint(has)
    assert set(words.of_range(Range("year", dates=True, gte=0))).isdisjoint(has)


@given(st.integers(0, 400))
def test_slices_share_out_all_points(parts: int) -> None:
    found = [word for part in words.slices(parts) for word in part]
    assert len(found) == len(set(found)) == 256
    assert not set(found).isdisjoint(words.of_point(Terms((), {}), CHUNK))


@given(st.lists(st.sampled_from(["fox", "owl", "newt", "lynx"]), max_size=300), st.floats(0.01, 12))
def test_no_chunk_scores_more_than_its_bound(text: list[str], rarity: float) -> None:
    """Weaviate's BM25 with the k1 and b of the collection: what it says of a chunk bounds what we say of it."""
    bag, postings = stems.stored(" ".join(text))
    asked = dict.fromkeys(lexical.query("fox owl").indices, rarity)
    counted = [bag.split().count(str(stem)) for stem in asked]
    k1 = stems.SATURATION
    theirs = sum(rarity * times * (k1 + 1) / (times + k1) for times in counted)
    ours = stems.bm25(postings, asked)
    assert ours <= stems.bound(theirs, asked)
    assert stems.bound(theirs, asked) <= ours + 2 * (0.08 * sum(asked.values())) or not text


# --- what is sent ---------------------------------------------------------------------------------------------------


async def test_a_filter_is_sent_with_each_search(stand_in: StandIn, index: WeaviateIndex) -> None:
    mine = one_document("a", "fox", fields={"tags": ("a",)})
    await index.apply([mine], 1)
    stand_in.requests.clear()
    where = In("tags", ("a", "b"))
    await index.search(scope_of(mine), vector=np.ones(8, dtype=np.float32), text="fox", limit=3, where=where)
    searches = stand_in.sent(search_get_pb2.SearchRequest)
    sent = [each for each in searches if each.HasField("near_vector") or each.HasField("bm25_search")]
    assert len(sent) == 2
    for each in sent:
        assert each.filters.operator == base_pb2.Filters.OPERATOR_CONTAINS_ANY
        assert list(each.filters.value_text_array.values) == ['["tags","a"]', '["tags","b"]']


async def test_ef_is_how_many_are_asked_for(stand_in: StandIn, index: WeaviateIndex) -> None:
    mine = one_document("a", "fox", "owl", "newt")
    await index.apply([mine], 1)
    for ef, asked in ((None, 128), (500, 500), (2, 2), (1, 2)):
        stand_in.requests.clear()
        hits = await index.search(scope_of(mine), vector=np.ones(8, dtype=np.float32), text=None, limit=2, ef=ef)
        assert len(hits) == 2
        (sent,) = [each for each in stand_in.sent(search_get_pb2.SearchRequest) if each.HasField("near_vector")]
        assert sent.limit == asked


async def test_an_exact_search_stays_below_what_weaviate_searches_by_graph(
    stand_in: StandIn, index: WeaviateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "FLAT_BELOW", 20)
    mine = one_document("a", *["fox"] * 35)
    await index.apply([mine], 1)
    stand_in.requests.clear()
    vector = mine.points[11].vector
    hits = await index.search(scope_of(mine), vector=vector, text=None, limit=1, exact=True)
    assert [hit.chunk_id for hit in hits] == [mine.points[11].chunk_id]
    sent = [each for each in stand_in.sent(search_get_pb2.SearchRequest) if each.HasField("near_vector")]
    assert len(sent) == 4
    assert all(each.HasField("filters") for each in sent)


async def test_bm25_is_read_until_nothing_can_be_missed(stand_in: StandIn, index: WeaviateIndex) -> None:
    """All chunks look alike to Weaviate, and the best of them by a hair comes after the first 256."""
    mine = one_document("a", *[f"fox {'owl ' * 40}"] * 300)
    order = sorted(range(300), key=lambda i: mine.points[i].chunk_id)
    best = replace(mine.points[order[-1]], text=f"fox {'owl ' * 39}")
    kept = tuple(best if point.chunk_id == best.chunk_id else point for point in mine.points)
    await index.apply([replace(mine, points=kept)], 1)
    hits = await index.search(scope_of(mine), vector=None, text="fox", limit=1)
    assert [hit.chunk_id for hit in hits] == [best.chunk_id]


async def test_old_points_go_only_after_all_new_ones_are_there(stand_in: StandIn, index: WeaviateIndex) -> None:
    large = one_document("a", *["fox"] * 350)
    await index.apply([large], 1)
    stand_in.requests.clear()
    await index.apply([replace(large, points=one_document("a", *["owl"] * 300).points)], 2)
    kinds = [type(each) for each in stand_in.requests if isinstance(each, _WRITES)]
    inserts, deletes = kinds.count(batch_pb2.BatchObjectsRequest), kinds.count(batch_delete_pb2.BatchDeleteRequest)
    assert deletes == 5  # the stand-in deletes 100 at a time
    assert kinds[: inserts - 1] == [batch_pb2.BatchObjectsRequest] * 3  # and one for the position, at the end
    assert await index.count(scope_of(large)) == 300


_WRITES = batch_pb2.BatchObjectsRequest | batch_delete_pb2.BatchDeleteRequest


@pytest.mark.parametrize(
    ("replicas", "needed", "writes", "reads"),
    [(1, 1, "ONE", "ONE"), (3, 1, "ONE", "ONE"), (3, 2, "QUORUM", "QUORUM"), (3, 3, "ALL", "ONE")],
)
async def test_consistency_is_that_of_the_settings(
    stand_in: StandIn, replicas: int, needed: int, writes: str, reads: str
) -> None:
    index = WeaviateIndex.open(stand_in.address, replicas=replicas, write_consistency=needed)
    await index.apply([one_document("a", "fox")], await index.position() + 1)
    await index.aclose()
    assert {each.schema["replicationConfig"]["factor"] for each in stand_in.collections.values()} == {replicas}
    assert {_level(each.consistency_level) for each in stand_in.requests if isinstance(each, _WRITES)} == {writes}
    assert {_level(each.consistency_level) for each in stand_in.sent(search_get_pb2.SearchRequest)} == {reads}


def _level(sent: int) -> str:
    return str(base_pb2.ConsistencyLevel.Name(sent)).removeprefix("CONSISTENCY_LEVEL_")


async def test_nothing_is_compressed_and_words_are_not_left_out(stand_in: StandIn, index: WeaviateIndex) -> None:
    await index.apply([one_document("a", "fox")], 1)
    (space,) = [each.schema for name, each in stand_in.collections.items() if name != "Ragstone"]
    hnsw = space["vectorConfig"]["default"]["vectorIndexConfig"]
    assert hnsw["distance"] == "cosine"
    assert hnsw["skipDefaultQuantization"] is True
    assert hnsw["flatSearchCutoff"] == 40_000
    assert space["invertedIndexConfig"]["stopwords"]["preset"] == "none"
    assert space["multiTenancyConfig"]["enabled"] is True


# --- refusals -------------------------------------------------------------------------------------------------------


async def test_a_server_that_is_down_is_unavailable_and_works_again(stand_in: StandIn) -> None:
    index = WeaviateIndex(Server(stand_in.address, None, patience=3), ef=64, layout=Layout())
    mine = one_document("a", "fox")
    await index.apply([mine], 1)
    stand_in.stop()
    for call in (index.position(), index.count(scope_of(mine)), index.apply([mine], 2)):
        with pytest.raises(IndexUnavailable):
            await call
    stand_in.start()
    assert await index.position() == 1
    assert await index.count(scope_of(mine)) == 1
    await index.aclose()


async def test_a_server_that_never_was_up_is_unavailable(stand_in: StandIn) -> None:
    address = stand_in.address
    stand_in.stop()
    index = WeaviateIndex.open(address)
    for _ in range(2):
        with pytest.raises(IndexUnavailable):
            await index.position()
    stand_in.start()
    assert await index.position() == 0
    await index.aclose()


async def test_a_wrong_key_names_the_setting(stand_in: StandIn) -> None:
    stand_in.key = "right"
    for key in (None, "wrong"):
        index = WeaviateIndex.open(stand_in.address, api_key=key)
        with pytest.raises(IndexFailure) as caught:
            await index.position()
        assert "index.api_key" in caught.value.hint
        await index.aclose()
    index = WeaviateIndex.open(stand_in.address, api_key="right")
    assert await index.position() == 0
    stand_in.key = "changed"
    with pytest.raises(IndexFailure) as caught:
        await index.count(scope_of(one_document("a", "fox")))
    assert "index.api_key" in caught.value.hint
    await index.aclose()


@pytest.mark.parametrize("version", ["1.32.9", "1.26.0"])
async def test_an_old_server_is_refused(stand_in: StandIn, version: str) -> None:
    stand_in.version = version
    index = WeaviateIndex.open(stand_in.address)
    with pytest.raises(IndexTooOld) as caught:
        await index.position()
    assert "1.33" in caught.value.hint
    await index.aclose()


async def test_a_full_disk_is_read_only_and_loses_nothing(stand_in: StandIn, index: WeaviateIndex) -> None:
    old = one_document("a", "fox", "owl")
    await index.apply([old], 1)
    stand_in.read_only = True
    new = replace(old, points=one_document("a", "newt", "lynx").points)
    for each in (new, replace(new, points=new.points[:1])):  # some are refused, and all
        with pytest.raises(IndexReadOnly):
            await index.apply([each], 2)
    assert (await index.health()).state == "read_only"
    assert await index.position() == 1
    hits = await index.search(scope_of(old), vector=None, text="fox owl", limit=9)
    assert {hit.chunk_id for hit in hits} == {point.chunk_id for point in old.points}
    stand_in.read_only = False
    await index.apply([new], 2)
    assert await index.count(scope_of(old)) == 2
    assert (await index.health()).state == "ready"


async def test_a_server_that_was_emptied_is_at_position_0(stand_in: StandIn, index: WeaviateIndex) -> None:
    mine = one_document("a", "fox")
    await index.apply([mine], 4)
    stand_in.collections.clear()
    assert await index.position() == 0
    assert await index.count(scope_of(mine)) == 0
    await index.apply([mine], 4)
    assert await index.count(scope_of(mine)) == 1


@pytest.mark.parametrize("query", ["grpc=x", "grpc=0", "grpc=70000", "port=1"])
def test_an_address_that_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(SettingsError, match="not understood"):
        WeaviateIndex.open(f"http://localhost:8080?{query}")


async def test_settings_name_the_server(stand_in: StandIn) -> None:
    stand_in.key = "right"
    settings = IndexSettings(url=f"weaviate+{stand_in.address}", api_key="right", replicas=2, ef=300)
    index = connect(settings)
    mine = one_document("a", "fox")
    await index.apply([mine], await index.position() + 1)
    await index.search(scope_of(mine), vector=np.ones(8, dtype=np.float32), text=None, limit=2)
    await index.aclose()
    assert {each.schema["replicationConfig"]["factor"] for each in stand_in.collections.values()} == {2}
    assert stand_in.sent(search_get_pb2.SearchRequest)[-1].limit == 300


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("ragstone.index.weaviate.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "weaviate", None)
    with pytest.raises(IndexFailure) as caught:
        connect(IndexSettings(url="weaviate+http://localhost:8080"))
    assert caught.value.hint == "pip install 'ragstone[weaviate]'"
