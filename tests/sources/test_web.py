from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from contracts.source import SourceContract, content, listed, skipped
from ragstone.errors import (
    BrokenDocument,
    DocumentGone,
    DocumentTooLarge,
    DocumentUnavailable,
    SourceError,
    UnreadableDocument,
)
from ragstone.models import Item
from ragstone.source_settings import WebSource
from ragstone.sources.base import Source
from ragstone.sources.network import Address, Guarded, is_any, is_public
from ragstone.sources.web import WebPages
from sources.site import Request, Response, Site, index, packed, serving, urlset

HERE = ip_address("127.0.0.1")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as started:
        yield started


def pages(*urls: str, listed_for: float = 60.0, network: Guarded | None = None, **changes: Any) -> WebPages:
    """Without an address or a sitemap: a source of which only single pages are asked for."""
    given = urls or (() if "sitemaps" in changes else ("http://other.test/",))
    settings = WebSource(urls=given, **{"delay": 0, "allow_private": True, "timeout": 5, **changes})
    return WebPages("site", settings, network=network, listed_for=listed_for)


def page(url: str) -> Item:
    return Item(uri=url, revision=None, name="page")


class TestWebPages(SourceContract):
    @pytest.fixture
    def source(self, site: Site) -> WebPages:
        site.pages |= {"/a": "First", "/b": "Second"}
        site.pages["/sitemap.xml"] = site.sitemap("/a", "/b")
        return pages(sitemaps=(f"{site.url}/sitemap.xml",), listed_for=0)

    @pytest.fixture
    def change_one(self, site: Site) -> Callable[[], None]:
        return lambda: site.pages.update({"/a": "Changed"})

    @pytest.fixture
    def remove_one(self, site: Site) -> Callable[[], None]:
        def remove() -> None:
            del site.pages["/a"]
            site.pages["/sitemap.xml"] = str(site.pages["/sitemap.xml"]).replace(f"{site.url}/a", f"{site.url}/b")

        return remove

    @pytest.fixture
    def spoil_one(self, site: Site) -> Callable[[], None]:
        def spoil() -> None:
            site.pages["/sitemap.xml"] = str(site.pages["/sitemap.xml"]).replace(
                "</urlset>", "<url><loc>mailto:a@b</loc></url></urlset>"
            )

        return spoil

    @pytest.fixture
    def remove_all(self, site: Site) -> Callable[[], None]:
        return site.pages.clear

    async def test_a_change_shows_in_the_revision_of_that_item_alone(
        self, source: Source, change_one: Callable[[], None]
    ) -> None:
        """A page without a time of change shows it when it is fetched."""
        first, second = await listed(source)
        assert (first.revision, second.revision) == (None, None)
        known = [fetched.revision for item in (first, second) if (fetched := await source.fetch(item, 1000))]
        change_one()
        assert await source.fetch(first, 1000, known[0]) is not None
        assert await source.fetch(second, 1000, known[1]) is None


# --- what is listed -----------------------------------------------------------------------------------------------


async def test_addresses_have_one_spelling_and_are_listed_once(site: Site) -> None:
    port = site.url.rpartition(":")[2]
    source = pages(f"{site.url}/ä b?q=1#part", f"HTTP://127.0.0.1:{port}/%C3%A4%20b?q=1", f"{site.url}/")
    assert [item.uri for item in await listed(source)] == [f"{site.url}/%C3%A4%20b?q=1", f"{site.url}/"]


async def test_sitemaps_may_be_indexes_and_packed_and_plain(site: Site) -> None:
    site.pages |= {
        "/index.xml": index(f"{site.url}/1.xml.gz", f"{site.url}/2.txt", f"{site.url}/1.xml.gz"),
        "/1.xml.gz": Response(body=gzip.compress(site.sitemap("/a", "/b").encode())),
        "/2.txt": Response(body=f"{site.url}/c\n{site.url}/a\n".encode()),
    }
    source = pages(sitemaps=(f"{site.url}/index.xml",))
    assert [item.uri for item in await listed(source)] == [f"{site.url}/{name}" for name in "abc"]


async def test_the_time_of_change_is_the_revision(site: Site) -> None:
    site.pages["/s.xml"] = urlset(
        f"<loc>{site.url}/moment</loc><lastmod>2026-03-01T10:00:00Z</lastmod>",
        f"<loc>{site.url}/day</loc><lastmod>2026-03-01</lastmod>",
        f"<loc>{site.url}/none</loc><lastmod>yesterday</lastmod>",
    )
    moment, day, none = await listed(pages(sitemaps=(f"{site.url}/s.xml",)))
    assert (moment.revision, day.revision, none.revision) == ("2026-03-01T10:00:00Z", None, None)
    assert moment.modified_at == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert day.modified_at == datetime(2026, 3, 1, tzinfo=UTC)


async def test_a_page_with_a_time_of_change_keeps_it_as_revision_and_asks_by_it(site: Site) -> None:
    async def answer(request: Request) -> Response:
        unchanged = request.headers.get("if-modified-since") == "Sun, 01 Mar 2026 10:00:00 GMT"
        return Response(status=304) if unchanged else Response(headers={"ETag": '"x"'}, body=b"Text")

    site.pages["/a"] = answer
    item = Item(uri=f"{site.url}/a", revision="2026-03-01T10:00:00Z", name="a")
    fetched = await pages().fetch(item, 100)
    assert fetched is not None
    assert fetched.revision == item.revision
    assert await pages().fetch(item, 100, item.revision) is None


async def test_all_pages_have_the_scheme_of_the_settings(site: Site) -> None:
    site.pages["/s.xml"] = urlset("<loc>https://other.test/a</loc>")
    source = pages(sitemaps=(f"{site.url}/s.xml",))
    (skip,) = await skipped(source)
    assert skip.uri.startswith(source.prefix)
    assert skip.reason == "https://other.test/a: it is not http://, as this source is"
    with pytest.raises(ValueError, match="http and https"):
        pages("http://a.test", "https://a.test")


async def test_globs_choose_among_what_sitemaps_list(site: Site) -> None:
    site.pages["/s.xml"] = site.sitemap("/docs/a", "/docs/old/b", "/blog/c")
    source = pages(f"{site.url}/x", sitemaps=(f"{site.url}/s.xml",), include=("docs",), exclude=("docs/old",))
    assert [item.uri for item in await listed(source)] == [f"{site.url}/x", f"{site.url}/docs/a"]


@pytest.mark.parametrize(
    ("sitemap", "message"),
    [
        (Response(status=404), "is gone"),
        (Response(status=500), "answered 500"),
        ("<html><body>Not found</body></html>", "its root is html"),
        ("<urlset><url>", "no well-formed XML"),
        ("Not found", "neither XML nor a list"),
        (Response(body=gzip.compress(b"<urlset/>")[:-9]), "ends too early"),
        (Response(body=gzip.compress(bytes(51 * 2**20))), "too long"),
    ],
)
async def test_a_sitemap_that_cannot_be_read_stops_the_listing(
    site: Site, sitemap: str | Response, message: str
) -> None:
    site.pages |= {"/index.xml": index(f"{site.url}/1.xml"), "/1.xml": sitemap}
    with pytest.raises(SourceError, match="nothing was changed") as caught:
        await listed(pages(f"{site.url}/a", sitemaps=(f"{site.url}/index.xml",)))
    assert message in str(caught.value)


@pytest.mark.parametrize("limit", ["MOST_PAGES", "MOST_SITEMAPS"])
async def test_a_list_without_end_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    site.pages["/sitemap.xml"] = index(*(f"{site.url}/{number}.xml" for number in range(3)))
    site.pages |= {f"/{number}.xml": site.sitemap(f"/{number}") for number in range(3)}
    source = pages(sitemaps=(f"{site.url}/sitemap.xml",))
    assert len(await listed(source)) == 3
    monkeypatch.setattr(f"ragstone.sources.web.{limit}", 2)
    with pytest.raises(SourceError, match="are listed; nothing was changed"):
        await listed(source)


async def test_many_looks_at_once_read_the_list_once(site: Site) -> None:
    site.pages["/sitemap.xml"] = site.sitemap("/a", "/b")
    source = pages(sitemaps=(f"{site.url}/sitemap.xml",))
    assert all(await asyncio.gather(*(source.look(f"{site.url}/{name}") for name in "abab")))
    assert site.asked == ["/sitemap.xml"]


async def test_times_at_the_ends_of_the_calendar_do_no_harm(site: Site) -> None:
    early = "0001-01-01T00:00:00+14:00"
    site.pages["/a"] = Response(headers={"Last-Modified": "Fri, 31 Dec 9999 23:00:00 -1400"}, body=b"Text")
    site.pages["/sitemap.xml"] = urlset(f"<loc>{site.url}/a</loc><lastmod>{early}</lastmod>")
    source = pages(sitemaps=(f"{site.url}/sitemap.xml",))
    (item,) = await listed(source)
    assert (item.revision, item.modified_at) == (None, None)
    fetched = await source.fetch(item, 100, known=early)
    assert fetched is not None
    assert fetched.modified_at is None


async def test_a_date_without_a_zone_is_in_utc(site: Site) -> None:
    site.pages["/a"] = Response(headers={"Last-Modified": "Tue, 15 Nov 1994 12:45:26 -0000"}, body=b"Text")
    fetched = await pages().fetch(page(f"{site.url}/a"), 100)
    assert fetched is not None
    assert fetched.modified_at == datetime(1994, 11, 15, 12, 45, 26, tzinfo=UTC)


async def test_a_sitemap_cannot_read_files(site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("http://secret.test/")
    entity = f'<!DOCTYPE urlset [<!ENTITY x SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
    site.pages["/s.xml"] = f"{entity}<urlset><url><loc>&x;</loc></url></urlset>"
    assert await listed(pages(sitemaps=(f"{site.url}/s.xml",))) == []


# --- robots.txt and politeness ------------------------------------------------------------------------------------


async def test_robots_txt_is_kept_to_and_read_once(site: Site) -> None:
    site.pages |= {
        "/robots.txt": "User-agent: *\nDisallow: /\nUser-agent: ragstone\nDisallow: /private\n",
        "/open": "Open",
        "/private/a": "Secret",
        "/moved": Response(status=302, headers={"Location": "/private/a"}),
    }
    source = pages(f"{site.url}/open", f"{site.url}/private/a", f"{site.url}/moved")
    (skip,) = await skipped(source)
    assert (skip.uri, skip.code) == (f"{site.url}/private/a", "unreadable")
    assert "robots.txt does not allow it" in skip.reason
    assert await source.look(skip.uri) == skip
    assert await content(source, page(f"{site.url}/open")) == b"Open"
    with pytest.raises(UnreadableDocument, match=r"/private/a: robots\.txt"):
        await source.fetch(page(f"{site.url}/moved"), 100)
    assert [request.path for request in site.requests].count("/robots.txt") == 1
    assert "/private/a" not in site.asked


async def test_a_host_whose_robots_txt_fails_is_left_alone(site: Site) -> None:
    site.pages |= {"/robots.txt": Response(status=500), "/a": "Text", "/b": "Text"}
    found = await skipped(pages(f"{site.url}/a", f"{site.url}/b"))
    assert [skip.code for skip in found] == ["unavailable", "unavailable"]
    assert [request.path for request in site.requests] == ["/robots.txt"]


async def test_a_robots_txt_without_end_allows_nothing(site: Site) -> None:
    site.pages |= {"/robots.txt": "User-agent: *\n" + "Disallow: /x\n" * 10**5, "/a": "Text"}
    with pytest.raises(UnreadableDocument, match="too long"):
        await pages().fetch(page(f"{site.url}/a"), 100)
    assert site.asked == []


async def test_hosts_with_nothing_going_on_are_forgotten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragstone.sources.web_client.MOST_HOSTS", 2)
    site.pages["/a"] = "Text"

    async def resolve(host: str, port: int) -> list[Address]:
        return [HERE]

    source, port = pages(network=Guarded(is_any, resolve), timeout=0.2), site.url.rpartition(":")[2]
    hosts = [f"http://{name}.test:{port}/a" for name in ("one", "two", "three", "three", "two", "one")]
    for url in hosts:
        assert await content(source, page(url)) == b"Text"
        await asyncio.sleep(0.25)
    robots = [request.headers["host"].partition(".")[0] for request in site.requests if request.path == "/robots.txt"]
    assert robots == ["one", "two", "three", "two", "one"]


async def test_few_requests_at_once(site: Site) -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.05)
        return Response(body=b"Text")

    site.pages |= {f"/{number}": slow for number in range(6)}
    source = pages()
    await asyncio.gather(*(source.fetch(page(f"{site.url}/{number}"), 100) for number in range(6)))
    assert site.most_at_once == 2


@pytest.mark.parametrize(("delay", "robots"), [(0.1, ""), (0, "User-agent: *\nCrawl-delay: 0.1\n")])
async def test_requests_keep_their_distance(site: Site, delay: float, robots: str) -> None:
    site.pages |= {"/robots.txt": robots, "/a": "Text", "/b": "Text", "/c": "Text"}
    source = pages(delay=delay)
    await source.fetch(page(f"{site.url}/a"), 100)
    start = time.monotonic()
    await asyncio.gather(*(source.fetch(page(f"{site.url}/{name}"), 100) for name in "bc"))
    assert time.monotonic() - start >= 0.1


@pytest.mark.parametrize(
    ("wait", "least"),
    [("120", 119), ("9" * 400, 3000), (format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), 600)],
    ids=["seconds", "forever", "date"],
)
async def test_who_asks_for_a_pause_gets_it(site: Site, wait: str, least: float) -> None:
    site.pages |= {"/a": Response(status=429, headers={"Retry-After": wait}), "/b": "Text"}
    source = pages()
    with pytest.raises(DocumentUnavailable) as caught:
        await source.fetch(page(f"{site.url}/a"), 100)
    assert caught.value.retry_after is not None
    assert 86_400 >= caught.value.retry_after > least
    with pytest.raises(DocumentUnavailable) as left_alone:
        await source.fetch(page(f"{site.url}/b"), 100)
    assert left_alone.value.retry_after is not None
    assert site.asked == ["/a"]


# --- fetching -----------------------------------------------------------------------------------------------------


async def test_a_page_without_a_tag_is_known_by_its_content(site: Site) -> None:
    site.pages["/a"] = Response(body=b"Text", headers={"Content-Type": "text/plain; charset=ISO-8859-2"})
    fetched = await pages().fetch(page(f"{site.url}/a"), 100)
    assert fetched is not None
    assert (fetched.data, fetched.charset) == (b"Text", "iso-8859-2")
    assert await pages().fetch(page(f"{site.url}/a"), 100, fetched.revision) is None
    site.pages["/a"] = Response(body=b"New")
    assert await pages().fetch(page(f"{site.url}/a"), 100, fetched.revision) is not None


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=nonsense", "text/html; charset=hex", ""])
async def test_a_character_set_that_is_none_is_not_passed_on(site: Site, kind: str) -> None:
    site.pages["/a"] = Response(body=b"Text", headers={"Content-Type": kind})
    fetched = await pages().fetch(page(f"{site.url}/a"), 100)
    assert fetched is not None
    assert fetched.charset is None


async def test_last_modified_is_asked_for_as_well(site: Site) -> None:
    date = "Sun, 01 Mar 2026 10:00:00 GMT"

    async def answer(request: Request) -> Response:
        unchanged = request.headers.get("if-modified-since") == date
        return Response(status=304 if unchanged else 200, headers={"Last-Modified": date}, body=b"Text")

    site.pages["/a"] = answer
    fetched = await pages().fetch(page(f"{site.url}/a"), 100)
    assert fetched is not None
    assert fetched.modified_at == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert await pages().fetch(page(f"{site.url}/a"), 100, fetched.revision) is None


async def test_a_tag_is_only_shown_to_the_address_that_gave_it(site: Site) -> None:
    site.pages |= {"/a": Response(status=301, headers={"Location": "b"}), "/b": "Second", "/c": "Third"}
    fetched = await pages().fetch(page(f"{site.url}/a"), 100)
    assert fetched is not None
    assert fetched.data == b"Second"
    assert await pages().fetch(page(f"{site.url}/a"), 100, fetched.revision) is None
    site.pages["/a"] = Response(status=301, headers={"Location": f"{site.url}/c#part"})
    site.requests.clear()
    changed = await pages().fetch(page(f"{site.url}/a"), 100, fetched.revision)
    assert changed is not None
    assert changed.data == b"Third"
    assert not any("if-none-match" in request.headers for request in site.requests)


async def test_packed_pages_may_have_several_members(site: Site) -> None:
    two = gzip.compress(b"One, ") + gzip.compress(b"two")
    site.pages |= {
        "/two": Response(headers={"Content-Encoding": "gzip"}, body=two + bytes(9)),
        "/endless": Response(headers={"Content-Encoding": "gzip"}, body=gzip.compress(b"") * 99 + two),
        "/rubbish": Response(headers={"Content-Encoding": "gzip"}, body=two + b"rubbish"),
        "/sitemap.txt.gz": Response(
            body=gzip.compress(f"{site.url}/a\n".encode()) + gzip.compress(f"{site.url}/b\n".encode())
        ),
    }
    assert await content(pages(), page(f"{site.url}/two"), limit=8) == b"One, two"
    assert await content(pages(), page(f"{site.url}/endless"), limit=8) == b"One, two"
    with pytest.raises(DocumentTooLarge):
        await pages().fetch(page(f"{site.url}/two"), 7)
    with pytest.raises(BrokenDocument, match="unpacked"):
        await pages().fetch(page(f"{site.url}/rubbish"), 100)
    items = await listed(pages(sitemaps=(f"{site.url}/sitemap.txt.gz",)))
    assert [item.uri for item in items] == [f"{site.url}/a", f"{site.url}/b"]


async def test_packed_pages_count_unpacked(site: Site) -> None:
    site.pages |= {"/a": packed(b"Text" * 25), "/bomb": packed(bytes(2**26)), "/cut": packed(b"Text")}
    assert await content(pages(), page(f"{site.url}/a"), limit=100) == b"Text" * 25
    with pytest.raises(DocumentTooLarge):
        await pages().fetch(page(f"{site.url}/a"), 99)
    with pytest.raises(DocumentTooLarge):
        await pages().fetch(page(f"{site.url}/bomb"), 1000)


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (Response(status=404), UnreadableDocument, "is gone"),
        (Response(status=410), UnreadableDocument, "is gone"),
        (Response(status=403), UnreadableDocument, "answered 403"),
        (Response(status=204), UnreadableDocument, "answered 204"),
        (Response(status=503, headers={"Retry-After": "soon"}), DocumentUnavailable, "answered 503"),
        (Response(status=502), DocumentUnavailable, "answered 502"),
        (Response(status=302), UnreadableDocument, "without saying where to"),
        (Response(status=302, headers={"Location": "file:///etc/passwd"}), UnreadableDocument, "no http"),
        (Response(status=302, headers={"Location": "https://"}), UnreadableDocument, "leads to"),
        (Response(status=302, headers={"Location": f"http://{'a' * 64}.test/"}), DocumentUnavailable, "aaaa"),
        (Response(status=302, headers={"Location": "/page"}), UnreadableDocument, "more than 5 redirects"),
        (Response(headers={"Content-Encoding": "br"}, body=b"x"), BrokenDocument, "encoded as br"),
        (Response(headers={"Content-Encoding": "gzip"}, body=b"no gzip"), BrokenDocument, "unpacked"),
        (Response(headers={"Content-Encoding": "gzip"}, body=gzip.compress(b"x")[:-1]), BrokenDocument, "too early"),
        (Response(headers={"Content-Length": "9"}, body=b"short"), DocumentUnavailable, "page"),
        (Response(headers={"Bad\x00Header": "9"}), DocumentUnavailable, "page"),
    ],
)
async def test_what_goes_wrong_is_told_apart(
    site: Site, response: Response, error: type[Exception], message: str
) -> None:
    site.pages["/page"] = response
    with pytest.raises(error, match=message) as caught:
        await pages().fetch(page(f"{site.url}/page"), 1000)
    assert isinstance(caught.value, DocumentUnavailable) == (error is DocumentUnavailable)


async def test_fetching_tells_what_is_gone_from_what_fails(site: Site) -> None:
    site.pages |= {"/a": Response(status=410), "/b": Response(status=500)}
    source = pages(*(f"{site.url}/{name}" for name in "ab"))
    for name, error in (("a", DocumentGone), ("b", DocumentUnavailable)):
        item = await source.look(f"{site.url}/{name}")
        assert isinstance(item, Item)
        with pytest.raises(error):
            await source.fetch(item, 100)


async def test_a_page_that_never_ends_is_given_up(site: Site) -> None:
    async def never(request: Request) -> Response:
        await asyncio.sleep(3600)
        return Response()

    site.pages["/a"] = never
    with pytest.raises(DocumentUnavailable, match=r"within 0\.2 s"):
        await pages(timeout=0.2).fetch(page(f"{site.url}/a"), 100)


async def test_nobody_listens() -> None:
    async with serving() as site:
        url = site.url
    (skip,) = await skipped(pages(f"{url}/a"))
    assert skip.code == "unavailable"


# --- which addresses are connected to -----------------------------------------------------------------------------


async def test_private_addresses_are_refused(site: Site) -> None:
    site.pages["/a"] = "Secret"
    port = site.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]"):
        (skip,) = await skipped(pages(f"http://{host}:{port}/a", allow_private=False))
        assert skip.code == "unreadable"
        assert "not on the public internet" in skip.reason
        with pytest.raises(UnreadableDocument, match="not on the public internet") as caught:
            await pages(allow_private=False).fetch(page(f"http://{host}:{port}/a"), 100)
        assert "allow_private" in caught.value.hint
    assert site.requests == []


async def test_a_redirect_to_a_private_address_is_refused(site: Site) -> None:
    async with serving("127.0.0.2") as inner:
        inner.pages["/secret"] = "Secret"
        site.pages["/a"] = Response(status=302, headers={"Location": f"{inner.url}/secret"})
        source = pages(network=Guarded(lambda address: address == HERE))
        with pytest.raises(UnreadableDocument, match=r"127\.0\.0\.2, not on the public internet"):
            await source.fetch(page(f"{site.url}/a"), 100)
        assert inner.requests == []


async def test_the_address_that_was_judged_is_the_one_connected_to(site: Site) -> None:
    """A name whose second answer is another address gains nothing by it: every connection asks once."""
    site.pages["/a"] = "Public"
    answers = []

    async def resolve(host: str, port: int) -> list[Address]:
        answers.append(host)
        return [HERE if len(answers) % 2 else ip_address("127.0.0.2")]

    port = site.url.rpartition(":")[2]
    source = pages(network=Guarded(lambda address: address == HERE, resolve))
    with pytest.raises(UnreadableDocument, match="not on the public internet"):
        await source.fetch(page(f"http://rebound.test:{port}/a"), 100)  # robots.txt first, then the page
    assert answers == ["rebound.test", "rebound.test"]
    assert await content(source, page(f"http://rebound.test:{port}/a")) == b"Public"
    assert len(answers) == 3
    assert {request.headers["host"] for request in site.requests} == {f"rebound.test:{port}"}


async def test_the_next_address_is_tried(site: Site) -> None:
    site.pages["/a"] = "Text"

    async def resolve(host: str, port: int) -> list[Address]:
        return [ip_address("127.0.0.3"), HERE]

    port = site.url.rpartition(":")[2]
    source = pages(network=Guarded(is_any, resolve))
    assert await content(source, page(f"http://two.test:{port}/a")) == b"Text"


async def test_tls_is_made_with_the_name_not_with_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str | None] = []
    tls = certified(tmp_path, "site.test")
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))

    async def resolve(host: str, port: int) -> list[Address]:
        return [HERE]

    async with serving(tls=tls, pages={"/a": "Text"}) as site:
        port = site.url.rpartition(":")[2]
        network = Guarded(is_any, resolve)
        assert await content(pages(network=network), page(f"https://site.test:{port}/a")) == b"Text"
        assert set(names) == {"site.test"}
        with pytest.raises(DocumentUnavailable, match="certificate"):
            await pages(network=network).fetch(page(f"https://other.test:{port}/a"), 100)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("64:ff9b::5db8:d70e", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.100.100.200", False),
        ("169.254.169.254", False),
        ("168.63.129.16", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("ff0e::1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("::7f00:1", False),
        ("::ffff:0:7f00:1", False),
        ("64:ff9b:1::7f00:1", False),
        ("fec0::1", False),
        ("192.0.0.192", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


def certified(folder: Path, name: str) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for this name in cert.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
