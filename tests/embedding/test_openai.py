from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.embedder import EmbedderContract
from llama import llama
from ragstone.embedding.openai import REQUEST_TOKENS, OpenAIEmbedder
from ragstone.errors import ProviderError, ProviderUnavailable, SettingsError, TextsRefused


class TestAgainstLlama(EmbedderContract):
    """A real server that speaks the API. One text a request, because it is not exact about several at once."""

    rounding = 1e-6

    @pytest_asyncio.fixture
    async def embedder(self) -> AsyncIterator[OpenAIEmbedder]:
        server = llama()
        embedder = OpenAIEmbedder(
            model=server.model,
            dimensions=server.dimensions,
            max_tokens=server.max_tokens,
            base_url=server.base_url,
            api_key=server.api_key,
            batch_size=1,
        )
        yield embedder
        await embedder.aclose()


async def test_a_wrong_key_is_told_with_what_to_do() -> None:
    server = llama()
    embedder = OpenAIEmbedder(model="m", dimensions=8, max_tokens=99, base_url=server.base_url, api_key="wrong")
    with pytest.raises(ProviderError, match="401") as error:
        await embedder.embed(["text"], "live")
    assert "embedding.api_key" in error.value.hint
    assert not isinstance(error.value, ProviderUnavailable)
    await embedder.aclose()


@dataclass
class Endpoint:
    """An HTTP server that answers each request with the next of its answers, and the last one for ever."""

    answers: list[tuple[int, dict[str, str], Any]]
    requests: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    def next(self) -> tuple[int, dict[str, str], Any]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def embedder(self, **changed: Any) -> OpenAIEmbedder:
        settings = {"model": "m", "dimensions": 3, "max_tokens": 999, "retries": 1, **changed}
        return OpenAIEmbedder(base_url=f"http://127.0.0.1:{self.port}/v1", **settings)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint(answers=[])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            endpoint.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, headers, body = endpoint.next()
            data = body(endpoint.requests[-1]) if callable(body) else body
            payload = data.encode() if isinstance(data, str) else json.dumps(data).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        endpoint.port = server.server_port
        Thread(target=server.serve_forever, args=(0.05,)).start()
        yield endpoint
        server.shutdown()


def vectors(request: dict[str, Any], *, size: int = 3, scale: float = 1.0, reverse: bool = False) -> dict[str, Any]:
    """A right answer: each text's length, in a vector."""
    rows = [
        {"object": "embedding", "index": index, "embedding": [scale * len(text), *[scale] * (size - 1)]}
        for index, text in enumerate(request["input"])
    ]
    return {"object": "list", "model": "m", "data": rows[::-1] if reverse else rows, "usage": USAGE}


USAGE = {"prompt_tokens": 1, "total_tokens": 1}
ERROR = {"error": {"message": "told you", "code": None, "type": "error"}}
BUSY = (429, {"Retry-After": "0.01"}, ERROR)


async def test_a_busy_endpoint_is_asked_again_when_it_says(endpoint: Endpoint) -> None:
    endpoint.answers = [BUSY, (503, {"Retry-After": "0.01"}, ERROR), (200, {}, vectors)]
    embedder = endpoint.embedder(retries=2)
    assert (await embedder.embed(["a", "b"], "live")).shape == (2, 3)
    assert len(endpoint.requests) == 3
    await embedder.aclose()


@pytest.mark.parametrize(
    ("answer", "kind", "requests"),
    [
        (BUSY, ProviderUnavailable, 2),
        ((500, {"Retry-After": "0.01"}, ERROR), ProviderUnavailable, 2),
        ((429, {"Retry-After": "0.01"}, {"error": {"message": "pay", "code": "insufficient_quota"}}), ProviderError, 1),
        ((409, {"Retry-After": "0.01"}, ERROR), ProviderUnavailable, 2),
        ((400, {}, ERROR), TextsRefused, 1),
        ((401, {}, ERROR), ProviderError, 1),
        ((404, {}, "not here"), ProviderError, 1),
        ((200, {"Content-Type": "text/html"}, "<p>Welcome</p>"), ProviderError, 1),
        ((200, {}, "{broken"), ProviderError, 1),
        ((200, {}, {"object": "list", "data": None}), ProviderError, 1),
        ((200, {}, {"object": "list", "data": [], "model": "m", "usage": USAGE}), ProviderError, 1),
        ((200, {}, lambda request: vectors(request, size=4)), ProviderError, 1),
        ((200, {}, lambda request: vectors(request, scale=0.0)), ProviderError, 1),
        ((200, {}, lambda request: vectors(request, scale=float("nan"))), ProviderError, 1),
    ],
)
async def test_each_fault_becomes_one_of_our_errors(
    endpoint: Endpoint, answer: tuple[int, dict[str, str], Any], kind: type[ProviderError], requests: int
) -> None:
    endpoint.answers = [answer]
    embedder = endpoint.embedder()
    with pytest.raises(ProviderError) as error:
        await embedder.embed(["some text"], "live")
    assert type(error.value) is kind
    assert len(endpoint.requests) == requests
    await embedder.aclose()


async def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    embedder = OpenAIEmbedder(
        model="m", dimensions=3, max_tokens=99, base_url="http://127.0.0.1:9/v1", retries=0, api_key="k"
    )
    with pytest.raises(ProviderUnavailable, match=r"127\.0\.0\.1:9"):
        await embedder.embed(["text"], "live")
    await embedder.aclose()


async def test_rows_are_put_in_order_and_scaled_to_unit_length(endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {}, lambda request: vectors(request, scale=7.0, reverse=True))]
    embedder = endpoint.embedder()
    found = await embedder.embed(["a", "bbb", "cc"], "query")
    expected = np.array([[1, 1, 1], [3, 1, 1], [2, 1, 1]], np.float32)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)
    await embedder.aclose()


async def test_requests_are_bounded_by_texts_and_by_tokens(endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {}, vectors)]
    embedder = endpoint.embedder(batch_size=4, max_tokens=100_000)
    await embedder.embed(["x"] * 9, "live")
    assert [len(request["input"]) for request in endpoint.requests] == [4, 4, 1]
    endpoint.requests.clear()
    await embedder.embed(["x" * (REQUEST_TOKENS // 3 - 10)] * 7, "live")
    assert [len(request["input"]) for request in endpoint.requests] == [3, 3, 1]
    await embedder.aclose()


async def test_blank_texts_are_refused_before_anything_is_sent(endpoint: Endpoint) -> None:
    embedder = endpoint.embedder()
    with pytest.raises(ProviderError, match="blank"):
        await embedder.embed([" \n"], "live")
    assert endpoint.requests == []
    await embedder.aclose()


@pytest.mark.parametrize(("dimensions", "sent"), [(None, None), (1536, None), (256, 256)])
async def test_a_listed_model_is_asked_for_shorter_vectors_only(
    endpoint: Endpoint, dimensions: int | None, sent: int | None
) -> None:
    endpoint.answers = [(200, {}, lambda request: vectors(request, size=dimensions or 1536))]
    embedder = endpoint.embedder(model="text-embedding-3-small", dimensions=dimensions, max_tokens=None)
    assert (await embedder.embed(["text"], "live")).shape == (1, dimensions or 1536)
    assert endpoint.requests[0].get("dimensions") == sent
    assert embedder.max_tokens == 8191
    assert embedder.count("hello world") == 2
    await embedder.aclose()


def test_an_unlisted_model_needs_its_size() -> None:
    with pytest.raises(SettingsError) as error:
        OpenAIEmbedder(model="some-model", dimensions=8, base_url="http://127.0.0.1:9/v1")
    assert "embedding.max_tokens" in error.value.hint


@settings(max_examples=20)
@given(
    left=st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["", "1"]), st.integers(1, 3)),
    right=st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["", "1"]), st.integers(1, 3)),
    urls=st.lists(st.sampled_from(["http://one/v1", "http://two/v1"]), min_size=2, max_size=2),
)
def test_model_revision_and_size_make_the_fingerprint_and_the_address_does_not(
    left: tuple[str, str, int], right: tuple[str, str, int], urls: list[str]
) -> None:
    digests = [
        OpenAIEmbedder(model=model, revision=revision, dimensions=size, max_tokens=99, base_url=url).fingerprint.digest
        for (model, revision, size), url in zip((left, right), urls, strict=True)
    ]
    assert (digests[0] == digests[1]) == (left == right)


def test_it_is_made_without_the_client() -> None:
    script = (
        "import sys; from ragstone.embedding.openai import OpenAIEmbedder;"
        "OpenAIEmbedder(model='m', dimensions=3, max_tokens=9, base_url='http://127.0.0.1:9').fingerprint;"
        "print(sorted({'openai', 'bpe_openai', 'httpx2', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
