from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from contracts.generator import GeneratorContract, answer, prompt_for
from llama import llama
from ragstone.errors import ProviderError, ProviderUnavailable
from ragstone.generation.openai import OpenAIGenerator, counter_for
from ragstone.settings import GenerationSettings
from ragstone.tokens import overestimate


def loopback(**changes: Any) -> GenerationSettings:
    server = llama()
    settings = GenerationSettings(
        provider="openai", model=server.model, base_url=server.base_url, api_key=SecretStr(server.api_key),
        context_window=server.context_window,
    )  # fmt: skip
    return settings.model_copy(update=changes)


@asynccontextmanager
async def opened(settings: GenerationSettings) -> AsyncIterator[OpenAIGenerator]:
    generator = OpenAIGenerator(settings)
    yield generator
    await generator.aclose()


class TestLlamaCpp(GeneratorContract):
    @pytest.fixture
    async def generator(self) -> AsyncIterator[OpenAIGenerator]:
        async with opened(loopback()) as generator:
            yield generator


async def test_a_wrong_key_is_told_with_the_setting_to_mend() -> None:
    async with opened(loopback(api_key=SecretStr("wrong"))) as generator:
        with pytest.raises(ProviderError, match="answered 401") as error:
            await answer(generator, prompt_for(generator))
    assert not isinstance(error.value, ProviderUnavailable)
    assert "generation.api_key" in error.value.hint


async def test_a_prompt_past_the_real_window_is_told_as_that() -> None:
    async with opened(loopback(context_window=100_000)) as generator:
        prompt = prompt_for(generator, question="why " * 3000, texts=(), budget=50_000)
        with pytest.raises(ProviderError, match="longer than") as error:
            await answer(generator, prompt)
    assert "generation.context_window" in error.value.hint


# --- an endpoint that does as it is told, over real HTTP ---------------------------------------------------------


@dataclass
class Endpoint:
    """What was asked, and whether the asker went away."""

    base_url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)


Script = Callable[[asyncio.StreamWriter, Endpoint], Awaitable[None]]


@asynccontextmanager
async def endpoint(*scripts: Script) -> AsyncIterator[Endpoint]:
    """Answers each request by the next script, the last one again and again."""
    seen = Endpoint()
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        async with aclosing_writer(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            seen.requests.append(json.loads(await reader.readexactly(length)))
            seen.asked.set()
            gone = asyncio.create_task(_until_gone(reader, seen.left))
            await scripts[min(len(seen.requests), len(scripts)) - 1](writer, seen)
            gone.cancel()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    seen.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield seen
        await asyncio.gather(*filter(None, serving))


@asynccontextmanager
async def aclosing_writer(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _until_gone(reader: asyncio.StreamReader, left: asyncio.Event) -> None:
    await reader.read()
    left.set()


def status(code: int, /, **error: str) -> Script:
    body = json.dumps({"error": {"message": "no", **error}})

    async def script(writer: asyncio.StreamWriter, seen: Endpoint) -> None:
        writer.write(f"HTTP/1.1 {code} x\r\nContent-Type: application/json\r\nretry-after-ms: 1\r\n".encode())
        writer.write(f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()

    return script


def events(*chunks: str, forever: bool = False) -> Script:
    async def script(writer: asyncio.StreamWriter, seen: Endpoint) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        writer.write("".join(f"data: {chunk}\n\n" for chunk in chunks).encode())
        await writer.drain()
        if forever:
            await seen.left.wait()

    return script


def token(text: str | None, finish: str | None = None) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


@asynccontextmanager
async def generator_at(base_url: str, **changes: Any) -> AsyncIterator[OpenAIGenerator]:
    settings = GenerationSettings(provider="openai", model="gpt-4.1", base_url=base_url)
    async with opened(settings.model_copy(update=changes)) as generator:
        yield generator


async def answered(script: Script, **changes: Any) -> list[str]:
    async with endpoint(script) as server, generator_at(server.base_url, **changes) as generator:
        return await answer(generator, prompt_for(generator))


async def test_the_request_has_the_prompt_and_the_settings() -> None:
    async with (
        endpoint(events(token("Yes"), token(None, "stop"), "[DONE]")) as server,
        generator_at(server.base_url, temperature=0.5) as generator,
    ):
        prompt = prompt_for(generator)
        assert await answer(generator, prompt, max_tokens=33) == ["Yes"]
        async with generator_at(server.base_url, model="o4-mini") as thinker:
            await answer(thinker, prompt, max_tokens=33)
    plain, thinking = server.requests
    assert plain["messages"] == [{"role": m.role, "content": m.content} for m in prompt.messages]
    assert (plain["model"], plain["temperature"], plain["max_tokens"], plain["stream"]) == ("gpt-4.1", 0.5, 33, True)
    assert thinking["max_completion_tokens"] == 33
    assert not thinking.keys() & {"temperature", "max_tokens"}


async def test_closing_the_answer_ends_the_request() -> None:
    async with (
        endpoint(events(token("One"), token(" two"), forever=True)) as server,
        generator_at(server.base_url) as generator,
    ):
        async with aclosing(generator.stream(prompt_for(generator), 100)) as pieces:
            assert await anext(pieces) == "One"
            assert not server.left.is_set()
        await server.left.wait()


async def test_cancelling_before_the_first_token_ends_the_request() -> None:
    async with endpoint(events(forever=True)) as server, generator_at(server.base_url) as generator:
        reader = asyncio.create_task(answer(generator, prompt_for(generator)))
        await server.asked.wait()
        reader.cancel()
        await server.left.wait()


async def test_failures_before_the_first_token_are_tried_again() -> None:
    async with (
        endpoint(status(503), status(429), events(token("Yes"), "[DONE]")) as server,
        generator_at(server.base_url) as generator,
    ):
        assert await answer(generator, prompt_for(generator)) == ["Yes"]
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_what_a_later_try_may_mend_is_unavailable(code: int) -> None:
    with pytest.raises(ProviderUnavailable, match=f"answered {code}: .*no"):
        await answered(status(code))


@pytest.mark.parametrize(
    ("code", "hint"),
    [(400, "generation.model"), (401, "OPENAI_API_KEY"), (403, "generation.model"), (404, "generation.base_url")],
)
async def test_what_needs_a_change_is_not(code: int, hint: str) -> None:
    with pytest.raises(ProviderError, match=f"answered {code}") as error:
        await answered(status(code))
    assert not isinstance(error.value, ProviderUnavailable)
    assert hint in error.value.hint


@pytest.mark.parametrize(
    "error",
    [{"code": "context_length_exceeded"}, {"message": "This model's maximum context length is 8192 tokens."}],
)
async def test_an_overflow_is_recognised_however_it_is_said(error: dict[str, str]) -> None:
    with pytest.raises(ProviderError, match="the prompt is longer than"):
        await answered(status(400, **error))


async def test_nobody_there_is_unavailable() -> None:
    async with generator_at("http://127.0.0.1:1/v1") as generator:
        with pytest.raises(ProviderUnavailable, match="cannot be reached") as error:
            await answer(generator, prompt_for(generator))
    assert "generation.base_url" in error.value.hint


async def test_no_first_token_in_time_is_unavailable() -> None:
    with pytest.raises(ProviderUnavailable, match=r"no token in 0\.2 s") as error:
        await answered(events(token(""), forever=True), timeout=0.2)
    assert "generation.timeout" in error.value.hint


async def test_a_stream_that_breaks_off_is_not_worth_another_try() -> None:
    async with (
        endpoint(events(token("One"), '{"error": {"message": "overloaded"}}')) as server,
        generator_at(server.base_url) as generator,
    ):
        pieces = generator.stream(prompt_for(generator), 100)
        assert await anext(pieces) == "One"
        with pytest.raises(ProviderError, match="overloaded") as error:
            await anext(pieces)
    assert not isinstance(error.value, ProviderUnavailable)


async def test_an_error_told_inside_the_stream_is_a_failure_of_an_endpoint_that_was_reached() -> None:
    with pytest.raises(ProviderError, match="failed: overloaded") as error:
        await answered(events('{"error": {"message": "overloaded"}}'))
    assert not isinstance(error.value, ProviderUnavailable)


@pytest.mark.parametrize(
    ("script", "message", "hint"),
    [
        (events("[DONE]"), "without a word", "generation.base_url"),
        (events(token(None, "length"), "[DONE]"), "finish reason: length", "prompt.answer_reserve"),
        (events("<html>"), "not a chat completion", "generation.base_url"),
        (events('{"choices": ["Yes"]}'), "not a chat completion", "generation.base_url"),
    ],
)
async def test_an_endpoint_that_writes_no_answer_is_an_error_not_a_refusal(
    script: Script, message: str, hint: str
) -> None:
    with pytest.raises(ProviderError, match=message) as error:
        await answered(script)
    assert hint in error.value.hint


def test_openai_models_are_counted_as_they_count() -> None:
    assert counter_for("gpt-4o-mini")("Hello, world!") == 4
    assert counter_for("gpt-4.1")("sixteen weeks") == counter_for("gpt-5")("sixteen weeks")
    assert counter_for("o3")("<|endoftext|>") > 1
    assert counter_for("gpt-4.1")("a" * 100_000) >= 50_000
    assert counter_for("qwen3") is overestimate
