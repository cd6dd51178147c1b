"""A real web site on the loopback interface, for tests of those who read from the web."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Request:
    path: str
    headers: dict[str, str]  # names in lower case


@dataclass(frozen=True, kw_only=True)
class Response:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


Answering: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(kw_only=True)
class Site:
    """Pages by path: text with an ETag of its own, or any response. Whatever else is asked for is not found."""

    url: str = ""
    pages: dict[str, str | Response | Answering] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def asked(self) -> list[str]:
        return [request.path for request in self.requests if request.path != "/robots.txt"]

    def sitemap(self, *paths: str) -> str:
        return urlset(*(f"<loc>{self.url}{path}</loc>" for path in paths))

    async def answer(self, request: Request) -> Response:
        page = self.pages.get(request.path, Response(status=404))
        if isinstance(page, Response):
            return page
        if not isinstance(page, str):
            return await page(request)
        tag = f'"{hashlib.md5(page.encode()).hexdigest()}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status=304, headers={"ETag": tag})
        return Response(headers={"ETag": tag, "Content-Type": "text/html; charset=utf-8"}, body=page.encode())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            request = Request(path=first.split()[1], headers=headers)
            self.requests.append(request)
            answer = await self.answer(request)
            sent = {"Content-Length": str(len(answer.body)), **answer.headers, "Connection": "close"}
            told = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
            writer.write(f"HTTP/1.1 {answer.status} Said\r\n{told}\r\n".encode("latin-1") + answer.body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side has read enough
        finally:
            self.at_once -= 1
            writer.close()


@asynccontextmanager
async def serving(
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    pages: dict[str, str | Response | Answering] | None = None,
) -> AsyncIterator[Site]:
    """A site on a port of its own."""
    site = Site(pages=pages if pages is not None else {})
    server = await asyncio.start_server(site.serve, host, 0, ssl=tls)
    site.url = f"http{'s' if tls else ''}://{host}:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield site


def urlset(*entries: str) -> str:
    inner = "".join(f"<url>{entry}</url>" for entry in entries)
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{inner}</urlset>'


def index(*urls: str) -> str:
    inner = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return f'<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{inner}</sitemapindex>'


def packed(data: bytes, **headers: str) -> Response:
    return Response(headers={"Content-Encoding": "gzip", **headers}, body=gzip.compress(data))
