"""A polite HTTP client: robots.txt, few requests at a time to a host, no more than was asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property

import httpcore
import httpx
from protego import Protego

from ragstone.errors import (
    BrokenDocument,
    DocumentError,
    DocumentGone,
    DocumentTooLarge,
    DocumentUnavailable,
    UnreadableDocument,
)
from ragstone.sources import body
from ragstone.sources.network import PrivateAddress
from ragstone.sources.sitemap import in_utc

AGENT = "ragstone"
AT_ONCE = 2  # requests to one host
REDIRECTS = 5
LONGEST_DELAY = 60.0  # seconds of a host's crawl-delay that are honoured
REST = 30.0  # seconds for which a host is left alone whose robots.txt cannot be had
LONGEST_REST = 3600.0  # … and for which one is that asks for it
LONGEST_RETRY = 86_400.0  # seconds that a host can ask to wait for a page
ROBOTS_KEPT = 3600.0  # seconds
ROBOTS_LIMIT = 2**19  # bytes; RFC 9309 asks for 500 KiB at least
MOST_HOSTS = 200  # from which on those with nothing going on are forgotten
LATER = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A good answer, or 304: not changed. `url` is where it came from in the end."""

    status: int
    url: str
    headers: httpx.Headers
    data: bytes

    @property
    def redirects(self) -> bool:
        return 300 <= self.status < 400 and self.status != 304


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Headers that are meant for one address alone: where a redirect leads to, a tag means something else."""

    url: str
    headers: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class _Host:
    """What is known of one host. Times are those of `time.monotonic`."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    robots: Protego | None = None
    robots_until: float = 0.0
    next_at: float = 0.0
    closed_until: float = 0.0

    def close(self, seconds: float) -> None:
        self.closed_until = max(self.closed_until, time.monotonic() + min(seconds, LONGEST_REST))

    def is_idle(self, since: float) -> bool:
        return not self.reading.locked() and max(self.next_at, self.closed_until) < since

    @asynccontextmanager
    async def turn(self, delay: float) -> AsyncIterator[None]:
        async with self.slots:
            now = time.monotonic()
            start = max(now, self.next_at)
            self.next_at = start + delay
            await asyncio.sleep(start - now)
            yield


class WebClient:
    """Gets pages. Keeps no connection open, so that there is nothing to close."""

    def __init__(self, network: httpcore.AsyncNetworkBackend, *, delay: float, timeout: float) -> None:
        self._network = network
        self._delay = delay
        self._timeout = timeout
        self._hosts: dict[str, _Host] = {}

    async def check(self, url: str) -> None:
        """Raises UnreadableDocument when the host's robots.txt forbids the page, or cannot be asked."""
        robots = await self._robots(url)
        if not robots.can_fetch(url, AGENT):
            raise UnreadableDocument(f"{url}: robots.txt does not allow it")

    async def get(self, url: str, limit: int | None, condition: Condition | None = None) -> Answer:
        """A page of at most `limit` bytes, redirects followed; without a limit its body is not read.

        Raises DocumentGone (404, 410) and other kinds of UnreadableDocument, DocumentUnavailable, DocumentTooLarge
        and BrokenDocument.
        """
        for _ in range(REDIRECTS + 1):
            await self.check(url)
            headers = condition.headers if condition and condition.url == url else {}
            answer = await self._in_turn(url, limit, headers)
            if not answer.redirects:
                return answer
            url = _target(answer)
        raise UnreadableDocument(f"{url}: more than {REDIRECTS} redirects")

    async def _robots(self, url: str) -> Protego:
        """Kept for a while. A host that has none allows everything; one that fails is asked for nothing (RFC 9309)."""
        host = self._host(url)
        async with host.reading:
            if host.robots is None or time.monotonic() > host.robots_until:
                try:
                    host.robots = Protego.parse(await self._read_robots(str(httpx.URL(url).join("/robots.txt"))))
                except DocumentUnavailable as error:
                    if error.retry_after is None:
                        host.close(REST)
                    raise
                host.robots_until = time.monotonic() + ROBOTS_KEPT
            return host.robots

    async def _read_robots(self, url: str) -> str:
        try:
            for _ in range(REDIRECTS + 1):
                answer = await self._in_turn(url, ROBOTS_LIMIT, {})
                if not answer.redirects:
                    return answer.data.decode("utf-8", errors="replace")
                url = _target(answer)
        except DocumentUnavailable:
            raise
        except DocumentTooLarge as error:
            raise UnreadableDocument(f"{url}: is too long to be read") from error
        except UnreadableDocument as error:
            if isinstance(error.__cause__, PrivateAddress):
                raise
        return ""

    async def _in_turn(self, url: str, limit: int | None, headers: Mapping[str, str]) -> Answer:
        host = self._host(url)
        if (wait := host.closed_until - time.monotonic()) > 0:
            raise DocumentUnavailable(f"{url}: its host refused or failed a moment ago", retry_after=wait)
        asked = host.robots.crawl_delay(AGENT) if host.robots else None
        async with host.turn(max(self._delay, min(asked or 0.0, LONGEST_DELAY))):
            try:
                return await self._request(url, limit, headers)
            except DocumentUnavailable as error:
                host.close(error.retry_after or 0.0)
                raise

    async def _request(self, url: str, limit: int | None, headers: Mapping[str, str]) -> Answer:
        sent = {"User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "gzip", "Connection": "close", **headers}
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._pool.stream("GET", url, headers=[(name.encode(), v.encode()) for name, v in sent.items()]) as got,
            ):
                answered = httpx.Headers(got.headers)
                _refuse(url, got.status, answered)
                data = b""
                if got.status == 200 and limit is not None:
                    data = await body.read(got.aiter_stream(), answered.get("content-encoding", ""), limit)
                return Answer(status=got.status, url=url, headers=answered, data=data)
        except _FAILURES as error:
            raise self._meant(url, limit, error) from error

    def _meant(self, url: str, limit: int | None, error: Exception) -> DocumentError:
        match error:
            case TimeoutError():
                return DocumentUnavailable(f"{url}: not there within {self._timeout:g} s")
            case PrivateAddress():
                return UnreadableDocument(f"{url}: {error}", hint="allow_private = true lets the source read it")
            case body.TooLong():
                return DocumentTooLarge(f"{url} has more than {limit:,} bytes", hint="raise parsing.max_bytes")
            case body.Broken():
                return BrokenDocument(f"{url}: {error}")
            case _:
                return DocumentUnavailable(f"{url}: {str(error) or type(error).__name__}")

    def _host(self, url: str) -> _Host:
        name = httpx.URL(url).netloc.decode()
        if name not in self._hosts and len(self._hosts) >= MOST_HOSTS:
            now = time.monotonic()
            self._hosts = {name: host for name, host in self._hosts.items() if not host.is_idle(now - self._timeout)}
        return self._hosts.setdefault(name, _Host())

    @cached_property
    def _pool(self) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,
            max_keepalive_connections=0,
            network_backend=self._network,
        )


_FAILURES = (
    TimeoutError,
    PrivateAddress,
    body.TooLong,
    body.Broken,
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
)


def clean(url: str) -> str:
    """One spelling for an address: without fragment, quoted, its host in lower case and ASCII. Raises ValueError."""
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from error
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.userinfo:
        raise ValueError("it is no http(s) address without a user name")
    return str(parsed.copy_with(fragment=None))


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds, whether given as such or as a date; at most a day."""
    value = headers.get("retry-after", "").strip()
    try:
        wait = float(value) if value.isdecimal() else in_utc(parsedate_to_datetime(value)).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, wait), LONGEST_RETRY)


def _target(answer: Answer) -> str:
    try:
        return clean(str(httpx.URL(answer.url).join(answer.headers["location"])))
    except (ValueError, httpx.InvalidURL) as error:
        raise UnreadableDocument(f"{answer.url}: leads to {answer.headers['location']}: {error}") from error


def _refuse(url: str, status: int, headers: httpx.Headers) -> None:
    """Raises a DocumentError unless it is a good answer, a redirect or 304."""
    if status in {404, 410}:
        raise DocumentGone(f"{url}: is gone ({status})")
    if status in LATER or status >= 500:
        raise DocumentUnavailable(f"{url}: the host answered {status}", retry_after=retry_after(headers))
    if status != 200 and not 300 <= status < 400:
        raise UnreadableDocument(f"{url}: the host answered {status}")
    if status not in {200, 304} and "location" not in headers:
        raise UnreadableDocument(f"{url}: the host answered {status} without saying where to")
