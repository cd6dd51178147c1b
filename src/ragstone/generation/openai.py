"""Answers by any OpenAI-compatible chat endpoint: OpenAI, vLLM, llama.cpp, Ollama, TGI and others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, cast

from ragstone.errors import ProviderError, ProviderUnavailable
from ragstone.models import Prompt
from ragstone.openai_endpoint import OpenAIEndpoint
from ragstone.settings import GenerationSettings
from ragstone.tokens import TokenCounter, byte_pairs, overestimate

if TYPE_CHECKING:
    from openai import APIError, AsyncStream
    from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

# Models that think first: they take no temperature, and their limit has another name.
_REASONING = re.compile(r"o\d|gpt-5")


class OpenAIGenerator:
    """One model behind one endpoint.

    The client tries again, with growing pauses, until the first token has come or the time for it is over; after
    that nothing is repeated.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        self._endpoint = OpenAIEndpoint(
            "generation",
            model=settings.model,
            base_url=settings.base_url,
            api_key=settings.api_key.get_secret_value() if settings.api_key else None,
            timeout=settings.timeout,
            retries=2,
        )

    @property
    def name(self) -> str:
        return self._endpoint.name

    @property
    def context_window(self) -> int:
        return self._settings.context_window

    def count(self, text: str) -> int:
        return self._counter(text)

    @cached_property
    def _counter(self) -> TokenCounter:
        return counter_for(self._settings.model)

    async def stream(self, prompt: Prompt, max_tokens: int) -> AsyncGenerator[str, None]:
        """As the protocol says. A model that writes nothing at all is a ProviderError, not a refusal."""
        deadline = asyncio.get_running_loop().time() + self._settings.timeout
        with self._translated(begun=False):
            async with asyncio.timeout_at(deadline):
                upstream = await self._open(prompt, max_tokens)
        async with upstream, aclosing(_pieces(upstream, self.name)) as pieces:
            with self._translated(begun=False):
                async with asyncio.timeout_at(deadline):
                    first = await anext(pieces)
            yield first
            with self._translated(begun=True):
                async for piece in pieces:
                    yield piece

    async def aclose(self) -> None:
        await self._endpoint.aclose()

    async def _open(self, prompt: Prompt, max_tokens: int) -> AsyncStream[ChatCompletionChunk]:
        from openai import omit

        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        reasons = _REASONING.match(self._settings.model) is not None
        return await self._endpoint.client.chat.completions.create(
            model=self._settings.model,
            messages=cast("list[ChatCompletionMessageParam]", messages),
            stream=True,
            temperature=omit if reasons else self._settings.temperature,
            max_tokens=omit if reasons else max_tokens,
            max_completion_tokens=max_tokens if reasons else omit,
        )

    @contextmanager
    def _translated(self, *, begun: bool) -> Iterator[None]:
        """Failures as the protocol has them. Once an answer has begun, another try would not continue it."""
        try:
            with self._endpoint.translated("a chat completion"), self._overflow_told():
                yield
        except TimeoutError:
            message = f"{self.name} sent no token in {self._settings.timeout:g} s"
            raise ProviderUnavailable(message, hint="raise generation.timeout if the model is slow to start") from None
        except ProviderUnavailable as error:
            if begun:
                raise ProviderError(str(error), hint=error.hint) from error
            raise

    @contextmanager
    def _overflow_told(self) -> Iterator[None]:
        from openai import APIError

        try:
            yield
        except APIError as error:
            if not _is_overflow(error):
                raise
            raise ProviderError(
                f"the prompt is longer than {self.name} can take: {error.message}",
                hint="set generation.context_window to the model's real window, or lower prompt.budget",
            ) from error


def counter_for(model: str) -> TokenCounter:
    """Counts as OpenAI's models do where the name is one of theirs, else never too few."""
    encoding = _encoding_name(model)
    return byte_pairs(encoding) if encoding else overestimate


def _encoding_name(model: str) -> str | None:
    if re.match(r"(chatgpt-|gpt-4[o.]|gpt-5|gpt-oss|o\d)", model):
        return "o200k_base"
    return "cl100k_base" if re.match(r"gpt-(4|3\.5)", model) else None


async def _pieces(upstream: AsyncStream[ChatCompletionChunk], name: str) -> AsyncGenerator[str, None]:
    """The texts of a stream. Raises ProviderError when there are none."""
    begun, reason = False, "none given"
    async for chunk in upstream:
        for choice in chunk.choices or ():
            reason = choice.finish_reason or reason
            if choice.delta.content:
                begun = True
                yield choice.delta.content
    if not begun:
        raise ProviderError(
            f"{name} ended its answer without a word (finish reason: {reason})",
            hint="raise prompt.answer_reserve"
            if reason == "length"
            else "check generation.base_url and generation.model",
        )


def _is_overflow(error: APIError) -> bool:
    """OpenAI and vLLM give a code or a phrase, llama.cpp a type."""
    return (
        error.code == "context_length_exceeded"
        or error.type == "exceed_context_size_error"
        or "maximum context length" in error.message
    )
