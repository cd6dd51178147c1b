"""E-books (EPUB 2 and 3): the chapters of the spine, in its order."""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import dirname, join, normpath
from typing import Any
from urllib.parse import unquote

from lxml import etree

from ragstone.errors import BrokenDocument, EncryptedDocument
from ragstone.models import Document
from ragstone.parsing import html
from ragstone.parsing.archive import Archive
from ragstone.parsing.decoding import decode
from ragstone.parsing.writer import Writer

MEDIA_TYPE = "application/epub+zip"
CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
CHAPTER_TYPES = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document"}


def parse(archive: Archive, name: str) -> Document:
    """Chapters without a heading have the title that the table of contents gives them.

    Raises BrokenDocument, EncryptedDocument or DocumentTooCostly.
    """
    package_path = _package_path(archive, name)
    package = _xml(archive.read_xml(package_path), name)
    manifest = list(package.iterfind(".//{*}manifest/{*}item"))
    chapters = list(_chapters(package, manifest, dirname(package_path)))
    _refuse_encrypted(archive, chapters, name)
    titles = dict(_contents(archive, manifest, dirname(package_path), name))
    writer = Writer()
    for chapter in chapters:
        if chapter not in archive:
            raise BrokenDocument(f"{name} is damaged: its chapter {chapter} is missing", hint="get it anew")
        html.write_body(writer, decode(archive.read(chapter), name), name, titles.get(chapter, ""))
    language = _property(package, "language")
    return writer.document(
        media_type=MEDIA_TYPE,
        title=_property(package, "title"),
        metadata={
            **({"author": author} if (author := _property(package, "creator")) else {}),
            **({"lang": language} if language else {}),
        },
    )


def _package_path(archive: Archive, name: str) -> str:
    if CONTAINER not in archive:
        raise BrokenDocument(f"{name} is damaged: it has no {CONTAINER}", hint="get it anew")
    root = _xml(archive.read_xml(CONTAINER), name).find(".//{*}rootfile")
    path = root.get("full-path") if root is not None else None
    if path is None or path not in archive:
        raise BrokenDocument(f"{name} is damaged: it does not say what is in it", hint="get it anew")
    return str(path)


def _chapters(package: Any, manifest: list[Any], folder: str) -> Iterator[str]:
    by_id = {item.get("id"): item for item in manifest}
    for reference in package.iterfind(".//{*}spine/{*}itemref"):
        item = by_id.get(reference.get("idref"))
        if item is not None and item.get("media-type") in CHAPTER_TYPES and not _is_contents(item):
            yield _inside(folder, item.get("href", ""))


def _contents(archive: Archive, manifest: list[Any], folder: str, name: str) -> Iterator[tuple[str, str]]:
    """The title of each file, by the table of contents: the later kind wins, of a file's titles the first."""
    for item in sorted(manifest, key=_is_contents):
        path = _inside(folder, item.get("href", ""))
        if path in archive and (_is_contents(item) or item.get("media-type") == "application/x-dtbncx+xml"):
            yield from reversed(list(_entries(_xml(archive.read_xml(path), name), dirname(path))))


def _entries(contents: Any, folder: str) -> Iterator[tuple[str, str]]:
    for point in contents.iterfind(".//{*}navPoint"):
        label, target = point.find("{*}navLabel/{*}text"), point.find("{*}content")
        if label is not None and target is not None:
            yield _inside(folder, target.get("src", "")), " ".join((label.text or "").split())
    for link in contents.iterfind(".//{*}nav//{*}a"):
        yield _inside(folder, link.get("href", "")), " ".join("".join(link.itertext()).split())


def _is_contents(item: Any) -> bool:
    return "nav" in (item.get("properties") or "").split()


def _refuse_encrypted(archive: Archive, chapters: list[str], name: str) -> None:
    """Fonts are often scrambled, which does no harm; encrypted chapters cannot be read."""
    if ENCRYPTION in archive:
        references = _xml(archive.read_xml(ENCRYPTION), name).iterfind(".//{*}CipherReference")
        if {unquote(reference.get("URI", "")) for reference in references} & {*chapters}:
            raise EncryptedDocument(f"{name} is protected (DRM)", hint="get a copy without protection")


def _xml(data: bytes, name: str) -> Any:
    parser = etree.XMLParser(resolve_entities=False, recover=True)  # many a book's is damaged a little
    try:
        root = etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError) as error:
        raise BrokenDocument(f"{name} is damaged: {error}", hint="get it anew") from error
    if root is None:
        raise BrokenDocument(f"{name} is damaged: it does not say what is in it", hint="get it anew")
    return root


def _property(package: Any, key: str) -> str:
    found = package.find(f".//{{*}}metadata/{{*}}{key}")
    return " ".join((found.text or "").split()) if found is not None else ""


def _inside(folder: str, href: str) -> str:
    return normpath(join(folder, unquote(href.partition("#")[0])))
