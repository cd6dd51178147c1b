from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.embedder import EmbedderContract
from embedding.endpoint import BUSY, ERROR, USAGE, Endpoint, serving, vectors
from llama import llama
from ragstone.embedding.base import Lane, Usage
from ragstone.embedding.limiter import Limiter
from ragstone.embedding.openai import REQUEST_TOKENS, OpenAIEmbedder
from ragstone.errors import ProviderError, ProviderUnavailable, SettingsError, TextsRefused

LANES: tuple[Lane, ...] = ("query", "live", "backfill")


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


async def test_a_refused_batch_is_halved_until_the_text_is_found(endpoint: Endpoint) -> None:
    endpoint.answers = [endpoint.refusing("poison")]
    embedder = endpoint.embedder()
    texts = [f"text {number}" for number in range(16)]
    texts[5] = "poison"
    with pytest.raises(TextsRefused, match="1 of 16 texts") as told:
        await embedder.embed(texts, "live")
    assert list(told.value.refused) == [5]
    others = [place for place in range(16) if place != 5]
    np.testing.assert_array_equal(
        told.value.vectors[others], await embedder.embed([texts[place] for place in others], "live")
    )
    assert np.isnan(told.value.vectors[5]).all()
    assert len(endpoint.requests) - 1 == 9  # 16, then two of each of 8, 4, 2, 1
    await embedder.aclose()


@settings(max_examples=25, deadline=None)
@given(bad=st.sets(st.integers(0, 11), max_size=11))
async def test_exactly_the_bad_texts_are_refused(bad: set[int]) -> None:
    with serving() as endpoint:
        endpoint.answers = [endpoint.refusing("poison")]
        embedder = endpoint.embedder(batch_size=12)
        texts = [f"{'poison' if number in bad else 'text'} {number}" for number in range(12)]
        refused: set[int] = set()
        try:
            found = await embedder.embed(texts, "live")
        except TextsRefused as error:
            refused, found = set(error.refused), error.vectors
        assert refused == bad
        assert np.isfinite(found[sorted(set(range(12)) - bad)]).all()
        await embedder.aclose()


async def test_texts_are_not_to_blame_when_none_is_taken(endpoint: Endpoint) -> None:
    endpoint.answers = [(400, {}, ERROR)]
    embedder = endpoint.embedder()
    with pytest.raises(ProviderError, match="told you") as error:
        await embedder.embed(["a", "b"], "live")
    assert not isinstance(error.value, TextsRefused)
    await embedder.aclose()


async def test_texts_that_are_wrong_in_themselves_do_not_stop_the_others(endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {}, vectors)]
    embedder = endpoint.embedder(max_tokens=20)
    with pytest.raises(TextsRefused) as told:
        await embedder.embed(["fine", " ", "x" * 50, "\ud83d"], "live")
    assert list(told.value.refused) == [1, 2, 3]
    assert [request["input"] for request in endpoint.requests] == [["fine"]]
    await embedder.aclose()


async def test_who_must_wait_too_long_is_told_how_long(endpoint: Endpoint) -> None:
    endpoint.answers = [(429, {"Retry-After": "3600"}, ERROR)]
    embedder = endpoint.embedder()
    with pytest.raises(ProviderUnavailable) as error:
        await embedder.embed(["text"], "live")
    assert error.value.retry_after == 3600
    assert len(endpoint.requests) == 1
    await embedder.aclose()


async def test_requests_tokens_and_money_are_counted(endpoint: Endpoint) -> None:
    def billing(request: dict[str, Any]) -> dict[str, Any]:
        return {**vectors(request), "usage": {"prompt_tokens": 1000, "total_tokens": 1000}}

    endpoint.answers = [BUSY, (200, {}, billing)]
    embedder = endpoint.embedder(batch_size=2, price=0.5)
    assert embedder.usage == Usage()
    await embedder.embed(["a", "b", "c"], "live")
    assert embedder.usage == Usage(texts=3, tokens=2000, requests=2, money=0.001)
    await embedder.aclose()


async def test_tokens_are_estimated_where_nobody_bills(endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {}, lambda request: {**vectors(request), "usage": None})]
    embedder = endpoint.embedder()
    await embedder.embed(["some words"], "query")
    assert embedder.usage == Usage(texts=1, tokens=embedder.count("some words"), requests=1)
    await embedder.aclose()


def test_the_price_is_that_of_the_list_only_at_openai() -> None:
    name = "text-embedding-3-large"
    assert OpenAIEmbedder(model=name, api_key="k").price == 0.13
    assert OpenAIEmbedder(model=name, base_url="http://127.0.0.1:9/v1").price == 0
    assert OpenAIEmbedder(model=name, base_url="http://127.0.0.1:9/v1", price=2).price == 2


async def test_prefixes_are_sent_and_leave_less_room(endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {}, vectors)]
    embedder = endpoint.embedder(query_prefix="query: ", document_prefix="passage: ")
    for lane in LANES:
        await embedder.embed(["river"], lane)
    assert [request["input"] for request in endpoint.requests] == [
        ["query: river"],
        ["passage: river"],
        ["passage: river"],
    ]
    assert embedder.max_tokens == 999 - embedder.count("passage: ")
    assert embedder.fingerprint != endpoint.embedder().fingerprint
    await embedder.aclose()


async def test_the_limiter_is_asked_before_each_request(endpoint: Endpoint) -> None:
    endpoint.answers = [(200, {}, vectors)]
    slept: list[float] = []
    now = [0.0]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    embedder = endpoint.embedder(batch_size=1, limiter=Limiter(3, 0, clock=lambda: now[0], sleep=sleep))
    await embedder.embed(["a", "b", "c"], "query")
    assert slept == []
    await embedder.embed(["d"], "query")
    assert slept == [60]
    await embedder.aclose()
