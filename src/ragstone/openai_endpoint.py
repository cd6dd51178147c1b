"""What all callers of an OpenAI-compatible endpoint share: its key, its client, and its failures told as ours."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

from ragstone.errors import ProviderError, ProviderUnavailable, SettingsError

if TYPE_CHECKING:
    from openai import APIError, APIStatusError, AsyncOpenAI

Table: TypeAlias = Literal["embedding", "generation"]
"""The table of ragstone.toml that an endpoint is set in; hints name its settings."""

OPENAI = "https://api.openai.com/v1"

_CONNECT_TIMEOUT = 5.0  # seconds
_LONGEST_WAIT = 86_400.0  # seconds that an endpoint can ask for
_TRANSIENT = frozenset({408, 409, 429})  # and from 500 on; the client tries again after the same ones
_NOT_THE_CONTENT = frozenset({401, 402, 403, 404, 405})  # the key, the plan, the address or the model's name


class RequestRefused(ProviderError):
    """The endpoint does not take what this one request holds; another request may well be taken."""


class OpenAIEndpoint:
    """A model behind an address. Made at no cost: the client is imported, which takes a second, when it is needed.

    OPENAI_API_KEY goes to OpenAI alone: an endpoint named by `base_url` gets `api_key`, or a placeholder, since it may
    need none. Raises SettingsError when a package is missing, or there is no key for OpenAI.
    """

    def __init__(
        self, table: Table, *, model: str, base_url: str | None, api_key: str | None, timeout: float, retries: int
    ) -> None:
        _require_extra(table)
        self._table = table
        self._base_url = base_url or OPENAI  # never left to the client, which would look for it in the environment
        self._api_key = _key(table, base_url, api_key)
        self._timeout = timeout
        self._retries = retries
        self.name = f"{model} at {_host(self._base_url)}"

    @cached_property
    def client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI, Timeout

        timeout = Timeout(self._timeout, connect=min(_CONNECT_TIMEOUT, self._timeout))
        return AsyncOpenAI(api_key=self._api_key, base_url=self._base_url, max_retries=self._retries, timeout=timeout)

    async def aclose(self) -> None:
        if "client" in self.__dict__:
            await self.client.close()

    @contextmanager
    def translated(self, expected: str) -> Iterator[None]:
        """The client's errors become ProviderError, or ProviderUnavailable where a later try may mend it.

        `expected` names what the endpoint should send; the block may read it as if it were that.
        """
        from openai import APIError, APIResponseValidationError

        try:
            yield
        except (APIResponseValidationError, ValueError, TypeError, AttributeError) as error:
            message = f"{self.name} sent something that is not {expected}: {error}"
            raise ProviderError(message, hint=self._hint(404)) from error
        except APIError as error:
            raise self._ours(error) from error

    def _ours(self, error: APIError) -> ProviderError:
        from openai import APIConnectionError, APIStatusError

        if isinstance(error, APIConnectionError):
            hint = f"check {self._table}.base_url, and that the server runs"
            # the innermost cause says more than "Connection error."
            return ProviderUnavailable(f"{self.name} cannot be reached: {error.__cause__ or error.message}", hint=hint)
        if isinstance(error, APIStatusError):
            return self._refusal(error)
        return ProviderError(f"{self.name} failed: {error.message}")  # told inside a stream that began well

    def _refusal(self, error: APIStatusError) -> ProviderError:
        status = error.status_code
        message = f"{self.name} answered {status}: {error.message}"
        if error.code == "insufficient_quota":
            return ProviderError(message, hint="check the plan and the billing of the key's account")
        if status in _TRANSIENT or status >= 500:
            hint = "try again later, or check the endpoint's limits and its log"
            return ProviderUnavailable(message, hint=hint, retry_after=retry_after(error.response.headers))
        kind = ProviderError if status in _NOT_THE_CONTENT else RequestRefused
        return kind(message, hint=self._hint(status))

    def _hint(self, status: int) -> str:
        table = self._table
        hints = {
            401: f"check {table}.api_key; OPENAI_API_KEY is sent only where {table}.base_url is not set",
            403: f"the key may not use {table}.model",
            404: f"check {table}.model, and that {table}.base_url ends as the endpoint wants it (often /v1)",
        }
        return hints.get(status, f"check {table}.model and the other settings of {table}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a Retry-After header asks to wait (RFC 9110, 10.2.3: a number or a date); None without one."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return min(float(value), _LONGEST_WAIT)
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - time.time()), _LONGEST_WAIT)
    except (ValueError, OverflowError):
        return None


def _require_extra(table: Table) -> None:
    if find_spec("openai") is None or find_spec("bpe_openai") is None:
        raise SettingsError(
            f"{table}.provider = openai needs packages that are not installed", hint="pip install 'ragstone[openai]'"
        )


def _key(table: Table, base_url: str | None, configured: str | None) -> str:
    key = configured or (None if base_url else os.environ.get("OPENAI_API_KEY"))
    if not key and not base_url:
        raise SettingsError(
            "there is no API key for OpenAI",
            hint=f"set OPENAI_API_KEY or {table}.api_key, or name another endpoint with {table}.base_url",
        )
    return key or "none"


def _host(base_url: str) -> str:
    """Host and port, without what may be secret in an address."""
    return urlsplit(base_url).netloc.rpartition("@")[2] or base_url
