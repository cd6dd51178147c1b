"""A Weaviate server: how it is reached, which versions will do, and what its refusals mean."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import grpc  # type: ignore[import-untyped]
import httpx
import weaviate
from weaviate.classes.init import AdditionalConfig, Auth, GrpcConfig, Timeout
from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateBaseError, WeaviateStartUpError

from ragstone.errors import IndexFailure, IndexReadOnly, IndexTooOld, IndexUnavailable, SettingsError

OLDEST = (1, 33)
"""The first version that can negate a filter."""

PATIENCE = 10.0  # seconds for what answers at once; the client alone would try for a minute
GRPC_PORT = 50051

_RECONNECT = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1000)]
"""A server that is back is seen at once: gRPC by itself would look again after up to two minutes."""

KEY_HINT = "index.api_key (RAGSTONE_INDEX_API_KEY) is the server's key; it must be one that may write"
ADDRESS_HINT = (
    "start the server, or correct its address and gRPC port in index.url (RAGSTONE_INDEX_URL): "
    "weaviate+http://host:8080?grpc=50051"
)
_KEY = re.compile(r"unauthor|unauthenticated|api key|anonymous access", re.IGNORECASE)
_FULL = re.compile(r"read[- ]?only|no space left|disk (usage|is full)", re.IGNORECASE)
_AWAY = re.compile(r"cannot achieve consistency|not enough replicas|no leader|leader not found", re.IGNORECASE)


class Server:
    """A connection that is made when it is first needed, and lasts."""

    def __init__(self, address: str, api_key: str | None, *, patience: float = PATIENCE) -> None:
        self._client = _client(address, api_key)
        self._patience = patience
        self._lock = asyncio.Lock()
        self._checked = False

    @asynccontextmanager
    async def session(self, *, long: bool = False) -> AsyncIterator[weaviate.WeaviateAsyncClient]:
        """The connected client. What it raises within becomes ours, here and nowhere else.

        `long` is what goes over many points: each of its requests has the client's own time limit.
        """
        try:
            async with asyncio.timeout(None if long else self._patience):
                await self._connect()
                yield self._client
        except TimeoutError as error:
            raise IndexUnavailable(
                f"Weaviate does not answer within {self._patience:.0f} s", hint=ADDRESS_HINT
            ) from error
        except (WeaviateBaseError, httpx.HTTPError, grpc.RpcError) as error:
            raise meaning(error) from error

    async def aclose(self) -> None:
        await self._client.close()

    async def _connect(self) -> None:
        async with self._lock:
            if self._checked:
                return
            try:
                await self._client.connect()
                _refuse_old((await self._client.get_meta())["version"])
                self._checked = True
            finally:
                if not self._checked:
                    await self._client.close()


def _client(address: str, api_key: str | None) -> weaviate.WeaviateAsyncClient:
    """Without the client's own checks, which ask a package index for its newest version."""
    parts = urlsplit(address)
    secure = parts.scheme == "https"
    return weaviate.use_async_with_custom(
        http_host=parts.hostname or "",
        http_port=parts.port or (443 if secure else 80),
        http_secure=secure,
        grpc_host=parts.hostname or "",
        grpc_port=_grpc_port(parts.query),
        grpc_secure=secure,
        auth_credentials=Auth.api_key(api_key) if api_key else None,
        additional_config=AdditionalConfig(
            timeout=Timeout(init=5, query=60, insert=120), grpc_config=GrpcConfig(channel_options=_RECONNECT)
        ),
        skip_init_checks=True,
    )


def _grpc_port(query: str) -> int:
    options = parse_qs(query, keep_blank_values=True)
    port = options.pop("grpc", [str(GRPC_PORT)])[-1]
    if options or not port.isdecimal() or not 0 < int(port) < 65536:
        raise SettingsError(f"index.url: {query!r} is not understood", hint=ADDRESS_HINT)
    return int(port)


def _refuse_old(version: str) -> None:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and tuple(map(int, numbers.groups())) < OLDEST:
        raise _too_old(f"the Weaviate server is of version {version}")


def _too_old(message: str) -> IndexTooOld:
    return IndexTooOld(message, hint=f"upgrade it to {'.'.join(map(str, OLDEST))} or later")


def meaning(error: Exception) -> IndexFailure:
    """What an error of the client says of the server."""
    said = " ".join(str(error).split())[:500].removesuffix(" Details: .")
    status, code = _status(error), _code(error)
    if isinstance(error, WeaviateStartUpError) and "not supported" in said:
        return _too_old(said)
    if _FULL.search(said) or status == 507:
        return IndexReadOnly(
            f"Weaviate takes no writes: {said}", hint="free space on its disk, then set its shards READY again"
        )
    if status in {401, 403} or code in _REFUSED or _KEY.search(said):
        return IndexFailure(f"Weaviate does not take the key: {said}", hint=KEY_HINT)
    if status in {408, 429, 502, 503, 504} or code in _ABSENT or _AWAY.search(said) or _unreached(error):
        return IndexUnavailable(f"Weaviate cannot be reached: {said}", hint=ADDRESS_HINT)
    return IndexFailure(f"Weaviate refuses or fails: {said}")


_REFUSED = frozenset((grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED))
_ABSENT = frozenset((grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED))


def _status(error: Exception) -> int | None:
    return error.status_code if isinstance(error, UnexpectedStatusCodeError) else None


def _code(error: BaseException | None) -> grpc.StatusCode | None:
    """Of the gRPC call that failed: the client tells only its text, and keeps the call as the cause."""
    while error is not None:
        if isinstance(error, grpc.aio.AioRpcError):
            return error.code()
        error = error.__cause__ or error.__context__
    return None


def _unreached(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, httpx.TransportError | OSError):
            return True
        error = error.__cause__ or error.__context__
    return False
