"""Sitemaps (sitemaps.org): lists of addresses, or of other sitemaps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An address, and when it last changed in the site's own words."""

    url: str
    changed: str | None = None

    @property
    def changed_at(self) -> datetime | None:
        try:
            return in_utc(datetime.fromisoformat(self.changed or ""))
        except (ValueError, OverflowError):
            return None

    @property
    def revision(self) -> str | None:
        """The time of change, where it has one. A bare date would hide a second change on the same day."""
        return self.changed if self.changed and "T" in self.changed and self.changed_at else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitemap:
    """What one file lists."""

    pages: tuple[Entry, ...] = ()
    sitemaps: tuple[Entry, ...] = ()


def in_utc(moment: datetime) -> datetime:
    """A moment without a time zone is taken to be in UTC. Raises OverflowError at the ends of time."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse(data: bytes) -> Sitemap:
    """Read a sitemap, a sitemap index, or a plain list with an address a line. Raises ValueError."""
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _parse_xml(data)
    lines = data.decode("utf-8-sig").split()
    if not all(line.startswith(("http://", "https://")) for line in lines):
        raise ValueError("it is no sitemap: neither XML nor a list of addresses")
    return Sitemap(pages=tuple(Entry(url=line) for line in lines))


def _parse_xml(data: bytes) -> Sitemap:
    from lxml import etree

    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise ValueError(f"it is no well-formed XML: {error.msg}") from error
    entries = tuple(entry for element in root.iterchildren(tag=etree.Element) if (entry := _entry(element)))
    match etree.QName(root).localname:
        case "urlset":
            return Sitemap(pages=entries)
        case "sitemapindex":
            return Sitemap(sitemaps=entries)
        case name:
            raise ValueError(f"it is no sitemap: its root is {name}")


def _entry(element: Any) -> Entry | None:
    """Only names of its own namespace count: an image or a video in it has a `loc` too."""
    space = element.tag.partition("}")[0] + "}" if "}" in element.tag else ""
    url = (element.findtext(f"{space}loc") or "").strip()
    changed = (element.findtext(f"{space}lastmod") or "").strip()
    return Entry(url=url, changed=changed or None) if url else None
