"""A Qdrant server: how it is reached, which versions will do, and what its refusals mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import httpx
from qdrant_client import AsyncQdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from qdrant_client.models import UpdateResult, UpdateStatus

from ragstone.errors import IndexFailure, IndexReadOnly, IndexTooOld, IndexUnavailable

OLDEST = (1, 19)
"""The first version that counts the rarity of words within a filter; it has all else that is used."""

QUICK = 10  # seconds for what is looked up, and for searches through graphs
SLOW = 120  # seconds for writes, and for what looks at every point
# A server closes what was idle for 5 s: a connection must not be taken up again at just that moment.
LIMITS = httpx.Limits(max_connections=32, keepalive_expiry=2)
KEY_HINT = "index.api_key (RAGSTONE_INDEX_API_KEY) is the server's key"
ADDRESS_HINT = "start the server, or correct its address in index.url (RAGSTONE_INDEX_URL)"
FULL = re.compile(r"no space left|out of disk|disk (is )?full|insufficient storage", re.IGNORECASE)


class Missing(IndexFailure):
    """A collection that was there is gone: somebody dropped it."""


def open_client(address: str, api_key: str | None) -> AsyncQdrantClient:
    """The key goes as a header of ours: the client would warn of each http:// address, those on this machine too."""
    headers = {"api-key": api_key} if api_key else {}
    return AsyncQdrantClient(url=address, headers=headers, timeout=QUICK, check_compatibility=False, limits=LIMITS)


async def check_version(client: AsyncQdrantClient) -> str:
    """The server's version. Raises IndexTooOld."""
    version = (await client.info()).version
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and tuple(map(int, numbers.groups())) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise IndexTooOld(f"the Qdrant server is of version {version}", hint=f"upgrade it to {oldest} or later")
    return version


def require_completed(results: Iterable[UpdateResult]) -> None:
    """A server may answer before a write is carried out, although it was asked to wait."""
    for result in results:
        if result.status != UpdateStatus.COMPLETED:
            raise IndexUnavailable(f"Qdrant has not finished a write in time ({result.status})")


@contextmanager
def qdrant_errors() -> Iterator[None]:
    """What the client raises becomes ours, here and nowhere else."""
    try:
        yield
    except UnexpectedResponse as error:
        raise _refusal(error.status_code or 0, error.content.decode("utf-8", "replace")) from error
    except ResourceExhaustedResponse as error:
        raise IndexUnavailable(f"Qdrant limits the rate of requests: {error}") from error
    except ResponseHandlingException as error:
        raise _no_answer(error.source) from error


def _refusal(status: int, content: str) -> IndexFailure:
    said = content[:500]
    if status == 401:
        return IndexFailure(f"Qdrant does not take the key: {said}", hint=KEY_HINT)
    if status == 403:
        return IndexReadOnly(f"Qdrant does not allow it: {said}", hint=f"{KEY_HINT}; it must be one that may write")
    if status == 404 and "ollection" in content:
        return Missing(f"Qdrant has lost a collection: {said}", hint="ragstone index rebuild")
    if status == 507 or FULL.search(content):
        return IndexReadOnly(f"the disk of Qdrant is full: {said}", hint="free space there; writing goes on by itself")
    if status in {408, 429, 502, 503, 504}:
        return IndexUnavailable(f"Qdrant cannot answer now ({status}): {said}")
    if "trict mode" in content or "ndex required but not found" in content:
        return IndexFailure(
            f"Qdrant's strict mode refuses it: {said}", hint="raise the limit in the collection's strict mode"
        )
    return IndexFailure(f"Qdrant refuses or fails ({status}): {said}")


def _no_answer(source: Exception) -> IndexFailure:
    if isinstance(source, httpx.TimeoutException):
        return IndexUnavailable(f"Qdrant does not answer in time ({type(source).__name__})")
    if isinstance(source, httpx.TransportError | OSError):
        return IndexUnavailable(
            f"Qdrant cannot be reached: {str(source) or type(source).__name__}",
            hint=ADDRESS_HINT,
        )
    return IndexFailure(f"what answers is no Qdrant: {str(source)[:300]}", hint=ADDRESS_HINT)
