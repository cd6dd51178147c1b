"""Answers by any OpenAI-compatible chat endpoint: OpenAI, vLLM, llama.cpp, Ollama, TGI and others."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from ragstone.errors import ProviderError, ProviderUnavailable, SettingsError
from ragstone.models import Prompt
from ragstone.settings import GenerationSettings
from ragstone.tokens import TokenCounter, byte_pairs, overestimate

if TYPE_CHECKING:
    from openai import APIError, AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

_INSTALL = "pip install 'ragstone[openai]'"
_OPENAI = "https://api.openai.com"
_CONNECT_TIMEOUT = 5.0  # seconds
# Models that think first: they take no temperature, and their limit has another name.
_REASONING = re.compile(r"o\d|gpt-5")


class OpenAIGenerator:
    """One model behind one endpoint.

    The client tries again, with growing pauses, until the first token has come or the time for it is over; after
    that nothing is repeated.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        self._key = _key(settings)
        self._host = urlsplit(settings.base_url or _OPENAI).hostname or settings.base_url

    @property
    def name(self) -> str:
        return f"{self._settings.model} at {self._host}"

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
        if "_client" in self.__dict__:
            await self._client.close()

    @cached_property
    def _client(self) -> AsyncOpenAI:
        """Made when it is first needed: to import it takes a second."""
        from openai import AsyncOpenAI, Timeout

        timeout = Timeout(self._settings.timeout, connect=min(_CONNECT_TIMEOUT, self._settings.timeout))
        return AsyncOpenAI(api_key=self._key, base_url=self._settings.base_url, timeout=timeout)

    async def _open(self, prompt: Prompt, max_tokens: int) -> AsyncStream[ChatCompletionChunk]:
        from openai import omit

        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        reasons = _REASONING.match(self._settings.model) is not None
        return await self._client.chat.completions.create(
            model=self._settings.model,
            messages=cast("list[ChatCompletionMessageParam]", messages),
            stream=True,
            temperature=omit if reasons else self._settings.temperature,
            max_tokens=omit if reasons else max_tokens,
            max_completion_tokens=max_tokens if reasons else omit,
        )

    @contextmanager
    def _translated(self, *, begun: bool) -> Iterator[None]:
        """The client's errors become ours. Once an answer has begun, another try would not continue it."""
        from openai import APIError

        try:
            yield
        except TimeoutError:
            message = f"{self.name} sent no token in {self._settings.timeout:g} s"
            raise ProviderUnavailable(message, hint="raise generation.timeout if the model is slow to start") from None
        except APIError as error:
            translated = _translate(error, self.name)
            raise ProviderError(str(translated), hint=translated.hint) if begun else translated from error
        except ValueError as error:  # what came is not JSON
            raise ProviderError(f"{self.name} sent something that is not a chat completion: {error}") from error


def counter_for(model: str) -> TokenCounter:
    """Counts as OpenAI's models do where the name is one of theirs, else never too few."""
    encoding = _encoding_name(model)
    if encoding is None:
        return overestimate
    try:
        return byte_pairs(encoding)
    except ImportError:
        return overestimate


def _encoding_name(model: str) -> str | None:
    if re.match(r"(chatgpt-|gpt-4[o.]|gpt-5|gpt-oss|o\d)", model):
        return "o200k_base"
    return "cl100k_base" if re.match(r"gpt-(4|3\.5)", model) else None


def _key(settings: GenerationSettings) -> str:
    """The key to send; an endpoint of one's own may need none. Raises SettingsError when nothing can be sent."""
    if find_spec("openai") is None:
        raise SettingsError("generation.provider = openai needs the openai package", hint=_INSTALL)
    key = settings.api_key.get_secret_value() if settings.api_key else os.environ.get("OPENAI_API_KEY")
    if not key and settings.base_url is None:
        raise SettingsError(
            "there is no API key for OpenAI",
            hint="set OPENAI_API_KEY or generation.api_key, or name another endpoint with generation.base_url",
        )
    return key or "none"


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


def _translate(error: APIError, name: str) -> ProviderError:
    """The one place that knows which failures a later try may mend."""
    status: int | None = getattr(error, "status_code", None)
    if _is_overflow(error):
        return ProviderError(
            f"the prompt is longer than {name} can take: {error.message}",
            hint="set generation.context_window to the model's real window, or lower prompt.budget",
        )
    if status is None:
        hint = "check generation.base_url, and that the server runs"
        return ProviderUnavailable(f"{name} cannot be reached: {_reason(error)}", hint=hint)
    message = f"{name} answered {status}: {error.message}"
    if status in (408, 429) or status >= 500:
        return ProviderUnavailable(message, hint="try again later, or check the endpoint's limits and its log")
    return ProviderError(message, hint=_HINTS.get(status, "check generation.model and generation.temperature"))


_HINTS = {
    401: "check generation.api_key or OPENAI_API_KEY",
    403: "this key may not use generation.model at generation.base_url",
    404: "check generation.model, and that generation.base_url ends as the endpoint wants it (often /v1)",
}


def _is_overflow(error: APIError) -> bool:
    """OpenAI and vLLM give a code or a phrase, llama.cpp a type."""
    return (
        error.code == "context_length_exceeded"
        or error.type == "exceed_context_size_error"
        or "maximum context length" in error.message
    )


def _reason(error: APIError) -> str:
    """The innermost cause says more than "Connection error."."""
    return str(error.__cause__ or error.message)
