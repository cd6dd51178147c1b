"""Web pages, by their addresses or by the sitemaps of a site."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from email.message import Message
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import quote, unquote, urlsplit

import httpcore
import httpx

from ragstone.errors import DocumentError, SourceError, UnsupportedDocument
from ragstone.models import Fetched, Item, Skip
from ragstone.source_settings import WebSource
from ragstone.sources import body, sitemap
from ragstone.sources.globs import Globs
from ragstone.sources.network import Guarded, is_any, is_public
from ragstone.sources.sitemap import in_utc
from ragstone.sources.web_client import Answer, Condition, WebClient, clean

SITEMAP_LIMIT = 50 * 2**20  # bytes, as sitemaps.org has it
DEEPEST = 3  # sitemap indexes within each other
LISTED = 60.0  # seconds that a list serves to tell whether a page is on it
SHARE = 10  # … or this many times what it took to make, so that looking at pages is not all listing
MOST_PAGES = 1_000_000  # about half a gigabyte of memory
MOST_SITEMAPS = 10_000
MADE_BY_PROGRAMS = (".php", ".cgi", ".pl", ".py", ".rb")


class WebPages:
    """Lists pages in the order of the settings and of the sitemaps. A page's URI is its address.

    Its revision is the sitemap's time of change where there is one, and else what the host needs to tell whether it
    changed: only fetching tells.
    """

    def __init__(
        self,
        name: str,
        settings: WebSource,
        *,
        network: httpcore.AsyncNetworkBackend | None = None,
        listed_for: float = LISTED,
    ) -> None:
        self.name = name
        self._settings = settings
        self._include = Globs(settings.include)
        self._exclude = Globs(settings.exclude)
        network = network or Guarded(is_any if settings.allow_private else is_public)
        self._client = WebClient(network, delay=settings.delay, timeout=settings.timeout)
        self._listed: dict[str, Item | Skip] = {}
        self._listed_for = listed_for
        self._listed_until = 0.0
        self._listing = asyncio.Lock()

    @property
    def prefix(self) -> str:
        """Pages may be on any host: the prefix is the scheme alone, and all of a source's pages have the same."""
        return clean((*self._settings.urls, *self._settings.sitemaps)[0]).partition("//")[0] + "//"

    async def items(self) -> AsyncIterator[Item | Skip]:
        """Raises SourceError when a sitemap cannot be read: its pages would seem to be gone."""
        for found in (await self._list()).values():
            yield await self._allowed(found)

    async def look(self, uri: str) -> Item | Skip | None:
        """By the list, which is read again when it is old; the page itself is asked for when it is fetched."""
        async with self._listing:
            if time.monotonic() >= self._listed_until:
                await self._list()
        found = self._listed.get(uri)
        return await self._allowed(found) if found else None

    async def fetch(self, item: Item, limit: int, known: str | None = None) -> Fetched | None:
        """Raises any DocumentError but those of parsing: DocumentGone for 404 and 410, and BrokenDocument when it
        cannot be unpacked."""
        answer = await self._client.get(item.uri, limit, _condition(item.uri, known))
        if answer.status == 304:
            return None
        revision = item.revision or _revision(answer)
        if revision == known and item.revision is None:
            return None
        return Fetched(
            data=answer.data,
            revision=revision,
            charset=_charset(answer.headers),
            modified_at=_moment(answer.headers.get("last-modified")) or item.modified_at,
        )

    async def _list(self) -> dict[str, Item | Skip]:
        """Everything listed, by URI, before robots.txt is asked."""
        began = time.monotonic()
        found: dict[str, Item | Skip] = {uri: _item(sitemap.Entry(url=uri)) for uri in map(clean, self._settings.urls)}
        read: set[str] = set()
        for url in self._settings.sitemaps:
            await self._read_sitemap(clean(url), found, read, DEEPEST)
        now = time.monotonic()
        serves = max(self._listed_for, SHARE * (now - began)) if self._listed_for else 0.0
        self._listed, self._listed_until = found, now + serves
        return found

    async def _read_sitemap(self, url: str, found: dict[str, Item | Skip], read: set[str], depth: int) -> None:
        """Add what the sitemap lists to what was found so far. Raises SourceError."""
        if url in read:
            return
        read.add(url)
        listed = await self._sitemap(url)
        if listed.sitemaps and depth == 1:
            raise self._error(f"sitemap {url}: indexes are more than {DEEPEST} deep")
        for entry in listed.pages:
            if page := self._page(entry, url):
                found.setdefault(page.uri, page)
        if len(found) > MOST_PAGES or len(read) > MOST_SITEMAPS:
            hint = "name only those sitemaps that are wanted, in several sources"
            raise self._error(f"over {MOST_PAGES:,} pages or {MOST_SITEMAPS:,} sitemaps are listed", hint)
        for below in listed.sitemaps:
            await self._read_sitemap(below.url, found, read, depth - 1)

    async def _sitemap(self, url: str) -> sitemap.Sitemap:
        """One file, the addresses of other sitemaps in their one spelling. Raises SourceError."""
        try:
            data = (await self._client.get(url, SITEMAP_LIMIT)).data
            listed = await asyncio.to_thread(_unpacked, data)
            return replace(listed, sitemaps=tuple(replace(entry, url=clean(entry.url)) for entry in listed.sitemaps))
        except DocumentError as error:
            raise self._error(f"sitemap {error}", error.hint) from error
        except (ValueError, body.Broken, body.TooLong) as error:
            raise self._error(f"sitemap {url}: {str(error) or 'it is too long'}") from error

    def _page(self, entry: sitemap.Entry, listed_by: str) -> Item | Skip | None:
        try:
            item = _item(replace(entry, url=clean(entry.url)))
            if not item.uri.startswith(self.prefix):
                raise ValueError(f"it is not {self.prefix}, as this source is")
        except ValueError as error:
            uri = f"{listed_by}#{quote(entry.url, safe='')}"
            return Skip(uri=uri, code=UnsupportedDocument.code, reason=f"{entry.url}: {error}")
        path = urlsplit(item.uri).path.lstrip("/")
        meant = not self._exclude.match(path) and (not self._include or self._include.match(path))
        return item if meant else None

    async def _allowed(self, found: Item | Skip) -> Item | Skip:
        if isinstance(found, Item):
            try:
                await self._client.check(found.uri)
            except DocumentError as error:
                return Skip(uri=found.uri, code=error.code, reason=str(error), hint=error.hint)
        return found

    def _error(self, message: str, hint: str = "") -> SourceError:
        return SourceError(f"source {self.name}: {message}; nothing was changed", hint=hint)


def _unpacked(data: bytes) -> sitemap.Sitemap:
    return sitemap.parse(body.gunzip(data, SITEMAP_LIMIT) if data.startswith(body.GZIP) else data)


def _item(entry: sitemap.Entry) -> Item:
    return Item(uri=entry.url, revision=entry.revision, name=_name(entry.url), modified_at=entry.changed_at)


def _name(url: str) -> str:
    """Host and path, ending as what is to be expected there: a name that ends in .php is no source code."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if path.endswith("/"):
        path += "index.html"
    return (parts.hostname or "") + path + (".html" if path.endswith(MADE_BY_PROGRAMS) else "")


def _condition(uri: str, known: str | None) -> Condition | None:
    """How to ask for the page only if it changed since `known`, which is a revision of this source or a lastmod."""
    if since := sitemap.Entry(url=uri, changed=known).changed_at:
        return Condition(url=uri, headers={"If-Modified-Since": format_datetime(since, usegmt=True)})
    if not known or not known.startswith("{"):
        return None
    told = json.loads(known)
    return Condition(url=told["url"], headers=told["ask"])


def _revision(answer: Answer) -> str:
    """The address that answered and what the next request has to say to it, or else a hash."""
    tag, modified = answer.headers.get("etag"), answer.headers.get("last-modified")
    ask = {name: value for name, value in (("If-None-Match", tag), ("If-Modified-Since", modified)) if value}
    if not ask:
        return "sha256:" + hashlib.sha256(answer.data).hexdigest()
    return json.dumps({"url": answer.url, "ask": ask})


def _charset(headers: httpx.Headers) -> str | None:
    message = Message()
    message["content-type"] = headers.get("content-type", "")
    charset = message.get_content_charset()
    try:
        " ".encode(charset or "utf-8")
    except (LookupError, ValueError):  # no such one, or none of text
        return None
    return charset


def _moment(date: str | None) -> datetime | None:
    try:
        return in_utc(parsedate_to_datetime(date)) if date else None
    except (ValueError, OverflowError):
        return None
