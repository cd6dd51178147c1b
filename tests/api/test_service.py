"""The HTTP service over a real socket, on a real catalog."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

from ragstone import __version__
from ragstone.api.service import create_service
from ragstone.app import open_ragstone
from ragstone.catalog.catalog import Catalog
from ragstone.settings import EmbeddingSettings, GenerationSettings, IndexSettings, Settings

KETTLE = "The kettle on the second floor is descaled every Thursday by the facilities team."
QUESTION = "When is the kettle on the second floor descaled?"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(data_dir=tmp_path, database={"url": database_url}, index=IndexSettings(url="exact"))


@pytest.fixture
async def indexed(settings: Settings, tmp_path: Path) -> Settings:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "tea.md").write_text(f"# Tea\n\n{KETTLE}\n")
    (docs / "leave.md").write_text("# Leave\n\nEveryone has thirty-one days of paid leave in a year.\n")
    async with open_ragstone(settings) as ragstone:
        await ragstone.upkeep.sync(ragstone.upkeep.source(str(docs)), lambda report: None)
    return settings


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The service on a free port, and a client for it."""
    server = uvicorn.Server(uvicorn.Config(create_service(settings), port=0, log_level="warning"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        while (await client.get("/healthz")).json().get("index_lag"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield client
    server.should_exit = True
    await task


@pytest.fixture
async def tagged(settings: Settings, tmp_path: Path) -> Settings:
    """Three documents that all speak of kettles, told apart by what stands above their text."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, matter in (
        ("tea", "tags: [kitchen, rules]\nyear: 2021"),
        ("coffee", "tags: [kitchen]\nyear: 2024"),
        ("plain", "author: Ada"),
    ):
        (docs / f"{name}.md").write_text(f"---\n{matter}\n---\n# {name}\n\n{KETTLE} So says the {name} page.\n")
    async with open_ragstone(settings) as ragstone:
        await ragstone.upkeep.sync(ragstone.upkeep.source(str(docs)), lambda report: None)
    return settings


NARROWED: list[tuple[object, set[str]]] = [
    ('tags = "kitchen"', {"tea", "coffee"}),
    ('tags in ("rules", "law") or author = "Ada"', {"tea", "plain"}),
    ("not exists(tags)", {"plain"}),
    ("year > 2021 and year <= 2024.0", {"coffee"}),
    ('tenant = "default" and collection != "default"', set()),
    ('source = "another"', set()),
    ('modified_at > "2001-01-01" and title != "tea"', {"coffee", "plain"}),
    ({"and": [{"field": "tags", "eq": "kitchen"}, {"not": {"field": "year", "lt": 2022}}]}, {"coffee"}),
    (None, {"tea", "coffee", "plain"}),
]


async def test_a_search_is_narrowed_by_a_filter(tagged: Settings) -> None:
    async with serving(tagged) as client:
        for where, titles in NARROWED:
            found = await client.post("/v1/search", json={"question": QUESTION, "where": where})
            assert found.status_code == 200, found.text
            assert {passage["title"] for passage in found.json()["passages"]} == titles, where


async def test_an_answer_is_drawn_from_what_the_filter_lets_through(tagged: Settings) -> None:
    async with serving(tagged) as client:
        asked = {"question": QUESTION, "where": 'author = "Ada"'}
        answer = (await client.post("/v1/answers", json=asked)).json()
        assert {passage["title"] for passage in answer["passages"]} == {"plain"}
        assert answer["refused"] is False
        refused = (await client.post("/v1/answers", json=asked | {"where": "year > 3000"})).json()
        assert refused["refused"] is True


WRONG: list[tuple[object, str]] = [
    ('tag = "kitchen"', "near it are: tags"),
    ("tags =", "for example"),
    ({"field": "tags", "like": "k"}, "eq, in, exists"),
    ({"field": "year", "gt": "soon"}, "numbers or all ISO 8601 dates"),
]


async def test_a_wrong_filter_is_told_with_what_there_is(tagged: Settings) -> None:
    async with serving(tagged) as client:
        for where, said in WRONG:
            for route in ("/v1/search", "/v1/answers"):
                refused = await client.post(route, json={"question": QUESTION, "where": where})
                assert refused.status_code == 422
                assert refused.json()["code"] == "filter"
                assert said in refused.json()["detail"]


@dataclass(frozen=True, kw_only=True)
class SlowModel:
    """A chat endpoint that says one word and then nothing."""

    settings: GenerationSettings
    asked: asyncio.Event
    left: asyncio.Event  # its client has hung up


@asynccontextmanager
async def slow_model() -> AsyncIterator[SlowModel]:
    asked, left = asyncio.Event(), asyncio.Event()
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    word = chunk | {"choices": [{"index": 0, "delta": {"content": "The "}}]}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        writer.write(f"data: {json.dumps(word)}\n\n".encode())
        await writer.drain()
        asked.set()
        await reader.read()  # the rest of the request, to the end of the connection
        left.set()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield SlowModel(settings=GenerationSettings(provider="openai", model="m", base_url=url), asked=asked, left=left)


async def events(response: httpx.Response) -> list[tuple[str, dict[str, object]]]:
    found = []
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            found.append((name, json.loads(line.removeprefix("data: "))))
    return found


async def test_search_gives_passages_with_scores_and_an_account_of_every_stage(indexed: Settings) -> None:
    async with serving(indexed) as client:
        response = await client.post("/v1/search", json={"question": QUESTION, "top_k": 1})
    body = response.json()
    [passage] = body["passages"]
    assert KETTLE in passage["text"]
    assert (passage["number"], passage["title"]) == (1, "Tea")
    assert passage["cosine"] > 0.5
    assert passage["bm25"] > 0
    names = [stage["name"] for stage in body["stages"]]
    assert names == ["embed", "search", "fuse", "threshold", "hydrate", "dedup", "parents", "join"]
    assert all(f"{name};dur=" in response.headers["server-timing"] for name in names)


async def test_an_answer_quotes_and_cites(indexed: Settings) -> None:
    async with serving(indexed) as client:
        body = (await client.post("/v1/answers", json={"question": QUESTION})).json()
    assert KETTLE in body["answer"]
    assert body["refused"] is False
    cited = [citation["number"] for citation in body["citations"]]
    assert {f"[{number}]" for number in cited} <= set(body["answer"].split())
    assert body["citations"][0]["title"] == "Tea"


async def test_a_question_that_the_documents_do_not_answer_is_refused_with_200(indexed: Settings) -> None:
    async with serving(indexed) as client:
        response = await client.post("/v1/answers", json={"question": "Who won the chess olympiad of 1972?"})
    assert response.status_code == 200
    assert response.json()["refused"] is True
    assert response.json()["answer"] == indexed.prompt.refusal
    assert response.json()["citations"] == []


async def test_a_streamed_answer_is_the_same_answer(indexed: Settings) -> None:
    async with serving(indexed) as client:
        whole = (await client.post("/v1/answers", json={"question": QUESTION})).json()
        async with client.stream("POST", "/v1/answers", json={"question": QUESTION, "stream": True}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            streamed = await events(response)
    names = [name for name, _ in streamed]
    assert names[0] == "retrieval"
    assert names[-2:] == ["timing", "done"]
    assert set(names) == {"retrieval", "token", "citation", "timing", "done"}
    assert "".join(str(data["text"]) for name, data in streamed if name == "token") == whole["answer"]
    assert [data for name, data in streamed if name == "citation"] == whole["citations"]
    assert streamed[-1][1]["answer"] == whole["answer"]


async def test_an_empty_collection_is_a_conflict(settings: Settings) -> None:
    async with serving(settings) as client:
        response = await client.post("/v1/answers", json={"question": "anything", "stream": True})
    assert (response.status_code, response.json()["code"]) == (409, "nothing_indexed")
    assert response.headers["content-type"] == "application/problem+json"
    assert "ragstone index" in response.json()["detail"]


async def test_an_endpoint_that_is_down_ends_the_stream_with_an_error(indexed: Settings) -> None:
    down = GenerationSettings(provider="openai", model="m", base_url="http://127.0.0.1:9/v1", timeout=1)
    async with (
        serving(indexed.model_copy(update={"generation": down})) as client,
        client.stream("POST", "/v1/answers", json={"question": QUESTION, "stream": True}) as response,
    ):
        streamed = await events(response)
    assert [name for name, _ in streamed] == ["retrieval", "error"]
    assert streamed[-1][1]["code"] == "provider_unavailable"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{}", "question"),
        ('{"question": ""}', "question"),
        ('{"question": " \\n\\t "}', "question"),
        ('{"question": 7}', "question"),
        ('{"question": "half a \\ud800 character"}', "question"),
        ('{"question": "x", "top_k": 0}', "top_k"),
        ('{"question": "x", "topk": 3}', "topk"),
        ('{"question": "x"', "body"),
        ("[]", "body"),
        ("", "body"),
    ],
)
async def test_a_wrong_body_says_which_field(settings: Settings, body: str, field: str) -> None:
    async with serving(settings) as client:
        response = await client.post("/v1/search", content=body, headers={"content-type": "application/json"})
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, problem["status"], problem["code"]) == (422, 422, "invalid_request")
    assert problem["title"] == f"the request does not fit: {field}"
    assert problem["detail"].startswith(f"{field}: ")


async def test_white_space_around_a_question_does_not_count(indexed: Settings) -> None:
    async with serving(indexed) as client:
        bare, padded = [
            (await client.post("/v1/search", json={"question": question})).json()["passages"]
            for question in ("kettle", "  kettle\n" + 4000 * " ")
        ]
    assert bare
    assert padded == bare


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/v1/nothing", b"", (404, "not_found")),
        ("GET", "/v1/search", b"", (405, "method_not_allowed")),
        ("POST", "/v1/search", b"\xff", (400, "bad_request")),
    ],
)
async def test_what_http_itself_refuses_is_a_problem_too(
    settings: Settings, method: str, path: str, body: bytes, expected: tuple[int, str]
) -> None:
    async with serving(settings) as client:
        response = await client.request(method, path, content=body, headers={"content-type": "application/json"})
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, response.json()["code"]) == expected


def test_openapi_declares_the_problems_as_they_are_sent() -> None:
    routes = create_service(Settings()).openapi()["paths"]
    responses = [
        (status, response)
        for methods in routes.values()
        for operation in methods.values()
        for status, response in operation["responses"].items()
    ]
    refusals = [response["content"] for status, response in responses if status != "200"]
    assert refusals
    for content in refusals:
        assert list(content) == ["application/problem+json"]
        assert {"title", "status", "detail", "code"} <= set(content["application/problem+json"]["schema"]["properties"])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_takes_the_request_to_the_model_along(indexed: Settings, stream: bool) -> None:
    async with slow_model() as model, serving(indexed.model_copy(update={"generation": model.settings})) as client:
        asking = asyncio.create_task(client.post("/v1/answers", json={"question": QUESTION, "stream": stream}))
        await asyncio.wait_for(model.asked.wait(), 30)
        assert not model.left.is_set()
        asking.cancel()
        await asyncio.wait_for(model.left.wait(), 30)


async def test_a_service_answers_by_the_model_of_the_vectors_though_the_settings_name_another(
    indexed: Settings,
) -> None:
    embedding = EmbeddingSettings(provider="openai", model="text-embedding-3-small", base_url="http://127.0.0.1:9/v1")
    async with serving(indexed.model_copy(update={"embedding": embedding})) as client:
        found = await client.post("/v1/search", json={"question": "How many days of paid leave?"})
    assert found.status_code == 200
    assert found.json()["passages"]


async def test_health(indexed: Settings) -> None:
    async with serving(indexed) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok", "version": __version__, "index_lag": 0}


async def test_a_probe_writes_nothing(settings: Settings, catalog: Catalog) -> None:
    async with serving(settings) as client:
        assert (await client.get("/healthz")).status_code == 200
    assert await catalog.collection(settings.tenant, settings.collection) is None
