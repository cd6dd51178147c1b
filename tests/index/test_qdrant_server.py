"""What goes over the wire to a Qdrant server, and what becomes of its refusals."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from contracts.points import again, one_document, scope_of
from index.qdrant_doors import Doors, Request, open_doors
from ragstone.errors import IndexFailure, IndexReadOnly, IndexTooOld, IndexUnavailable
from ragstone.index.exact import ExactIndex
from ragstone.index.filters import Range
from ragstone.index.qdrant import connect, server
from ragstone.index.qdrant.index import QdrantIndex
from ragstone.index.qdrant.space import MOST_NUMBERS
from ragstone.index.terms import number_key
from ragstone.models import Hit, Scope
from ragstone.settings import IndexSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]

SETTINGS = IndexSettings(shards=3, replicas=2, write_consistency=2, quantization="binary", api_key=SecretStr("s3cret"))


@pytest.fixture
def doors() -> Iterator[Doors]:
    doors = Doors()
    with open_doors(doors):
        yield doors


@pytest.fixture
async def index(doors: Doors) -> AsyncIterator[QdrantIndex]:
    index = at(doors)
    yield index
    await index.aclose()


def at(doors: Doors, settings: IndexSettings = SETTINGS) -> QdrantIndex:
    return connect(settings.model_copy(update={"url": f"qdrant+{doors.url}"}))


async def found(index: QdrantIndex | ExactIndex, scope: Scope) -> list[Hit]:
    hits = await index.search(scope, vector=np.ones(8, dtype=np.float32), text="fox newt", limit=10)
    return sorted(hits, key=lambda hit: hit.chunk_id)


@pytest.mark.parametrize("shards", [1, 3])
async def test_over_the_wire_it_answers_as_the_exact_index_does(doors: Doors, shards: int) -> None:
    index, exact = at(doors, SETTINGS.model_copy(update={"shards": shards})), ExactIndex()
    documents = [one_document("a", *["fox owl", "newt", "lynx fox"] * 3), one_document("b", "fox", "newt")]
    for each in (index, exact):
        await each.apply(documents, 1)
        await each.apply([replace(documents[0], points=documents[0].points[1:7])], 2)
    for scope in map(scope_of, documents):
        hits, truth = await found(index, scope), await found(exact, scope)
        assert [hit.chunk_id for hit in hits] == [hit.chunk_id for hit in truth]
        assert [hit.bm25 for hit in hits] == pytest.approx([hit.bm25 for hit in truth], abs=1e-4)
        assert [hit.cosine for hit in hits] == pytest.approx([hit.cosine for hit in truth], abs=1e-3)
        assert [entries async for entries in index.scan(scope)] == [entries async for entries in exact.scan(scope)]
    assert len(await index.scopes()) == 2
    health = await index.health()
    assert (health.version, health.points, health.position) == ("1.20.0", 8, 2)
    assert (health.details["optimizer"], health.details["cluster"]) == ("ok", "off")
    await index.aclose()


async def test_a_new_collection_is_laid_out_as_set(doors: Doors, index: QdrantIndex) -> None:
    await index.apply([one_document("a", "fox", fields={"year": (2024,)})], 1)
    space = made(doors, scope_of(one_document("a")).fingerprint)
    assert (space["shard_number"], space["replication_factor"], space["write_consistency_factor"]) == (3, 2, 2)
    assert "binary" in space["quantization_config"]
    assert space["sparse_vectors"]["bm25"].get("modifier") is None  # Qdrant counts rarity within each shard alone
    position = next(asked.body for asked in doors.asked if asked.path == "/collections/ragstone" and asked.body)
    assert (position["replication_factor"], position["write_consistency_factor"]) == (2, 2)
    indexes = {asked.body["field_name"]: asked.body["field_schema"] for asked in indexing(doors)}
    assert indexes.keys() == {"scope", "document", "words", "stems", number_key("year")}
    assert [name for name, schema in indexes.items() if schema.get("is_tenant")] == ["scope"]


async def test_with_one_shard_the_server_counts_rarity(doors: Doors) -> None:
    index = at(doors, IndexSettings())
    document = one_document("a", "fox")
    await index.apply([document], 1)
    assert made(doors, document.fingerprint)["sparse_vectors"]["bm25"]["modifier"] == "idf"
    await found(index, scope_of(document))
    asked = [
        search
        for request in doors.asked
        if request.path.endswith("/query/batch")
        for search in request.body["searches"]
    ]
    assert [search["params"]["idf"]["corpus"] for search in asked if search["using"] == "bm25"] == [asked[0]["filter"]]
    assert [search["params"]["quantization"]["rescore"] for search in asked if search["using"] == "dense"] == [True]
    await index.aclose()


async def test_writes_are_waited_for_in_order_and_the_position_comes_last(doors: Doors, index: QdrantIndex) -> None:
    await index.apply([one_document("a", *["fox"] * 300)], 1)
    writes = [asked for asked in doors.asked if "/points" in asked.path and asked.method in {"PUT", "POST"}]
    writes = [asked for asked in writes if asked.options.get("wait")]
    assert [asked.path.rpartition("/points")[2] for asked in writes] == ["/batch"] * 3 + [""]
    assert {(asked.options["wait"], asked.options["ordering"]) for asked in writes} == {("true", "medium")}
    assert "/ragstone/" in writes[-1].path
    assert [next(iter(each)) for each in writes[-2].body["operations"]] == ["upsert", "delete"]


@pytest.mark.parametrize(("shards", "rounds"), [(1, 2), (3, 2)])
async def test_a_search_is_two_questions_after_the_words_are_counted(doors: Doors, shards: int, rounds: int) -> None:
    index = at(doors, SETTINGS.model_copy(update={"shards": shards}))
    document = one_document("a", *["owl"] * 20, "fox", "newt")
    await index.apply([document], 1)
    doors.asked.clear()
    await index.search(scope_of(document), vector=document.points[0].vector, text="fox newt", limit=1)
    asked = [request.path.rpartition("/")[2] for request in doors.asked]
    assert asked.count("batch") == rounds
    assert set(asked) == ({"batch"} if shards == 1 else {"batch", "count"})
    await index.aclose()


async def test_numbers_past_the_most_are_right_without_an_index(doors: Doors, index: QdrantIndex) -> None:
    names = [f"f{i:03}" for i in range(MOST_NUMBERS + 5)]
    document = one_document("a", "fox", fields={name: (i,) for i, name in enumerate(names)})
    await index.apply([document], 1)
    assert len([asked for asked in indexing(doors) if asked.body["field_name"].startswith("n_")]) == MOST_NUMBERS
    assert await index.count(scope_of(document), Range(names[-1], gt=MOST_NUMBERS)) == 1
    assert await index.count(scope_of(document), Range(names[-1], lt=MOST_NUMBERS)) == 0


async def test_a_collection_goes_with_its_last_scope(doors: Doors, index: QdrantIndex) -> None:
    first = one_document("a", "fox")
    second = again(first, tenant="b")
    await index.apply([first, second], 1)
    await index.drop(scope_of(first))
    assert len(doors.local.get_collections().collections) == 2
    await index.drop(scope_of(second))
    assert [each.name for each in doors.local.get_collections().collections] == ["ragstone"]
    await index.apply([first], 2)
    assert len(await found(index, scope_of(first))) == 1


async def test_what_another_process_drops_holds_nothing(doors: Doors, index: QdrantIndex) -> None:
    document, other = one_document("a", "fox"), at(doors)
    await index.apply([document], 1)
    assert len(await found(other, scope_of(document))) == 1
    await index.drop(scope_of(document))
    assert await found(other, scope_of(document)) == []
    assert await other.count(scope_of(document)) == 0
    await other.aclose()


async def test_what_another_process_makes_again_is_looked_at_anew(
    doors: Doors, index: QdrantIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One shard in place of three, say: rarity is counted in another way from then on."""
    document, other = one_document("a", "fox owl", "newt"), at(doors, IndexSettings())
    await index.apply([document], 1)
    before = await found(index, scope_of(document))
    await other.reset("")
    await other.apply([document], 1)
    monkeypatch.setattr("ragstone.index.qdrant.index.RECHECK", 0)
    after = await found(index, scope_of(document))
    assert [hit.bm25 for hit in after] == pytest.approx([hit.bm25 for hit in before], abs=1e-4)
    await other.aclose()


async def test_the_position_that_another_process_reaches_is_waited_for(doors: Doors, index: QdrantIndex) -> None:
    other = at(doors)
    waiting = asyncio.create_task(other.wait(2, timeout=30))
    await index.apply([], 1)
    assert not await other.wait(2, timeout=0)
    await index.apply([], 2)
    assert await waiting
    await other.aclose()


async def test_an_index_of_another_layout_is_rebuilt(doors: Doors, index: QdrantIndex) -> None:
    await index.reset("catalog")
    await index.apply([], 7)
    assert (await index.source(), await index.position()) == ("catalog", 7)
    doors.local.set_payload("ragstone", {"layout": "0"}, points=[1])
    assert (await index.source(), await index.position()) == ("", 0)


async def test_a_collection_of_somebody_else_is_left_alone(doors: Doors, index: QdrantIndex) -> None:
    document = one_document("a", "fox")
    doors.local.create_collection(f"ragstone-{document.fingerprint}", vectors_config={})
    with pytest.raises(IndexFailure, match="was not made by Ragstone") as error:
        await index.apply([document], 1)
    assert error.value.hint


async def test_a_server_that_is_down_is_taken_up_again() -> None:
    doors = Doors()
    document = one_document("a", "fox")
    with open_doors(doors):
        index = at(doors)
        await index.apply([document], 1)
    with pytest.raises(IndexUnavailable, match="cannot be reached"):
        await found(index, scope_of(document))
    with pytest.raises(IndexUnavailable):
        await index.apply([document], 2)
    with open_doors(doors, int(doors.url.rpartition(":")[2])):
        assert len(await found(index, scope_of(document))) == 1
        await index.apply([document], 2)
        assert await index.position() == 2
    await index.aclose()


async def test_a_server_that_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "QUICK", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = connect(IndexSettings(url=f"qdrant+http://127.0.0.1:{silent.getsockname()[1]}"))
        with pytest.raises(IndexUnavailable, match="in time"):
            await index.position()
        await index.aclose()


@pytest.mark.parametrize(
    ("status", "message", "expected", "hint"),
    [
        (401, "Invalid API key or JWT", IndexFailure, "index.api_key"),
        (403, "Forbidden: Global write access is required", IndexReadOnly, "may write"),
        (507, "Out of disk", IndexReadOnly, "free space"),
        (500, "No space left on device: WAL buffer size exceeds available disk space", IndexReadOnly, "free space"),
        (400, "Bad request: strict mode: maximum vector storage size reached", IndexFailure, "strict mode"),
        (429, "Rate limiting exceeded", IndexUnavailable, ""),
        (503, "shutting down", IndexUnavailable, ""),
        (500, "replicas did not apply the operation", IndexFailure, ""),
    ],
)
async def test_a_refused_write_moves_no_position_and_is_mended_by_itself(
    doors: Doors, index: QdrantIndex, status: int, message: str, expected: type[IndexFailure], hint: str
) -> None:
    document = one_document("a", "fox")
    await index.apply([document], 1)
    doors.refusals = {"POST": (status, message)} if status == 401 else {"PUT": (status, message)}
    with pytest.raises(IndexFailure, match=message) as error:
        await index.apply([again(document)], 2)
    assert type(error.value) is expected
    assert hint in error.value.hint
    doors.refusals.clear()
    assert await index.position() == 1
    await index.apply([again(document)], 2)
    assert await index.position() == 2


async def test_a_write_that_is_not_finished_in_time_has_not_been_made(doors: Doors, index: QdrantIndex) -> None:
    document = one_document("a", "fox")
    await index.apply([document], 1)
    doors.statuses = ["wait_timeout"]
    with pytest.raises(IndexUnavailable, match="not finished"):
        await index.apply([document], 2)
    assert await index.position() == 1


async def test_an_old_server_is_refused_until_it_is_upgraded(doors: Doors, index: QdrantIndex) -> None:
    doors.version = "1.18.3"
    with pytest.raises(IndexTooOld, match=r"1\.18\.3") as error:
        await index.position()
    assert "1.19" in error.value.hint
    doors.version = "1.19.0"
    assert await index.position() == 0


async def test_what_is_no_qdrant_is_told(doors: Doors, index: QdrantIndex) -> None:
    doors.version = None  # type: ignore[assignment]
    with pytest.raises(IndexFailure, match="no Qdrant") as error:
        await index.position()
    assert "index.url" in error.value.hint


async def test_the_key_goes_with_every_request(doors: Doors, index: QdrantIndex) -> None:
    await index.apply([one_document("a", "fox")], 1)
    assert {asked.key for asked in doors.asked} == {"s3cret"}


def test_without_the_client_the_command_to_install_it_is_told() -> None:
    code = (
        "import sys; sys.modules['qdrant_client'] = None\n"
        "from ragstone.errors import IndexFailure\n"
        "from ragstone.index.qdrant import connect\n"
        "from ragstone.settings import IndexSettings\n"
        "try: connect(IndexSettings(url='qdrant+http://localhost:6333'))\n"
        "except IndexFailure as error: print(error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pip install 'ragstone[qdrant]'"


def made(doors: Doors, fingerprint: str) -> dict[str, Any]:
    """How the collection of a space was asked for."""
    bodies = [
        asked.body for asked in doors.asked if asked.path == f"/collections/ragstone-{fingerprint}" and asked.body
    ]
    assert len(bodies) == 1
    body: dict[str, Any] = bodies[0]
    return body


def indexing(doors: Doors) -> list[Request]:
    return [asked for asked in doors.asked if asked.path.endswith("/index")]
