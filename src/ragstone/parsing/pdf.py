"""PDF by PDFium: what is taken from the file, and what is said of a file that cannot be read."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from ragstone.errors import BrokenDocument, DocumentError, EmptyDocument, EncryptedDocument
from ragstone.models import Document
from ragstone.parsing.bookmarks import Bookmark
from ragstone.parsing.decoding import clean
from ragstone.parsing.fragments import Page, fragments
from ragstone.parsing.layout import layout
from ragstone.parsing.outline import sections

PASSWORD_NEEDED = {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}
SAVE_ANEW = "open it in a viewer and save it anew"
PLACEHOLDER_TITLES = ("microsoft ", "untitled", "powerpoint ")

EMPTY = Page()

MOST_UNREADABLE = 100
"""A file that has more unreadable pages than this, and more than readable ones, is given up: it may claim a million."""

MOST_EMPTY = 10_000
"""Pages at the beginning with nothing on them, after which nothing is expected: a few bytes may claim a million."""

OBJECTS = 200
"""How many of a page's parts are looked at for a picture."""

_FILE_NAME = re.compile(r"\S+\.[a-z]\w{1,7}", re.I)

pdfium_lock = threading.Lock()  # PDFium is not thread-safe


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """All that is taken from a PDF before PDFium lets go of it."""

    title: str
    pages: tuple[Page | None, ...]
    bookmarks: tuple[Bookmark, ...]


def parse(data: bytes, name: str) -> Document:
    """Raises EncryptedDocument, BrokenDocument, or EmptyDocument when no page has text that can be read."""
    with pdfium_lock:
        file = _read(data, name)
    pages = [page or EMPTY for page in file.pages]
    if not any(character.isalnum() for page in pages for part in page.all for character in part.text):
        raise _without_text(pages, name)
    written = layout(pages, file.bookmarks)
    return Document(
        title=file.title or written.title,
        media_type="application/pdf",
        text=written.text,
        sections=sections(written.text, written.headings),
        blocks=written.blocks,
        page_starts=written.page_starts,
        metadata=_left_out(file.pages),
    )


def _left_out(pages: Sequence[Page | None]) -> dict[str, list[int]]:
    """The pages (from 1) whose content is not in the text: damaged ones, and pictures."""
    unreadable = [number for number, page in enumerate(pages, 1) if page is None]
    scanned = [number for number, page in enumerate(pages, 1) if page and page.picture]
    return {key: found for key, found in (("unreadable_pages", unreadable), ("scanned_pages", scanned)) if found}


def _without_text(pages: Sequence[Page], name: str) -> EmptyDocument:
    if any(page.all for page in pages):
        reason = "has text, but its fonts do not say which characters it is made of"
    elif any(page.picture for page in pages):
        reason = "seems to be scanned: its pages hold pictures and no text"
    else:
        return EmptyDocument(f"{name} has no text on its pages, and no pictures", hint="it may be a form or a drawing")
    return EmptyDocument(f"{name} {reason}", hint="set parsing.ocr = true, or run it through OCR first")


def _read(data: bytes, name: str) -> _File:
    try:
        with pdfium.PdfDocument(data) as pdf:
            pages = _pages(pdf, name)
            return _File(title=_title(pdf), pages=tuple(pages), bookmarks=tuple(_bookmarks(pdf)))
    except pdfium.PdfiumError as error:
        raise _typed(error, name) from error


def _pages(pdf: pdfium.PdfDocument, name: str) -> list[Page | None]:
    """Raises BrokenDocument when there are none, or too few."""
    pages: list[Page | None] = []
    unreadable = empty = 0
    for number in range(len(pdf)):
        pages.append(_page(pdf, number))
        unreadable += pages[-1] is None
        empty += pages[-1] == EMPTY
        if unreadable > max(MOST_UNREADABLE, len(pages) / 2) or empty == len(pages) == MOST_EMPTY:
            break
    if unreadable == len(pages) or unreadable > max(MOST_UNREADABLE, len(pages) / 2):
        raise BrokenDocument(
            f"{name} is damaged: {unreadable} of the first {len(pages)} of its {len(pdf)} pages cannot be read",
            hint=SAVE_ANEW,
        )
    return pages


def _typed(error: pdfium.PdfiumError, name: str) -> DocumentError:
    if error.err_code in PASSWORD_NEEDED:
        return EncryptedDocument(f"{name} needs a password", hint="save a copy without a password")
    return BrokenDocument(f"{name} is damaged, or no PDF", hint=SAVE_ANEW)


def _title(pdf: pdfium.PdfDocument) -> str:
    """The title in the metadata, unless a program made it up."""
    title = " ".join(clean(pdf.get_metadata_value("Title")).split())
    return "" if title.lower().startswith(PLACEHOLDER_TITLES) or _FILE_NAME.fullmatch(title) else title


def _page(pdf: pdfium.PdfDocument, number: int) -> Page | None:
    """What stands on a page; None when it cannot be read."""
    try:
        page = pdf[number]
        text = page.get_textpage()
    except pdfium.PdfiumError:
        return None
    try:
        found = fragments(text)
        return found if found.all else Page(picture=_has_picture(page))
    finally:
        text.close()
        page.close()


def _has_picture(page: pdfium.PdfPage) -> bool:
    """Whether a picture is among the first parts of a page."""
    objects = min(raw.FPDFPage_CountObjects(page), OBJECTS)
    kinds = (raw.FPDFPageObj_GetType(raw.FPDFPage_GetObject(page, number)) for number in range(objects))
    return any(kind in (raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_FORM) for kind in kinds)


def _bookmarks(pdf: pdfium.PdfDocument) -> Iterator[Bookmark]:
    for bookmark in pdf.get_toc():
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        title = _words(bookmark)
        if title and page is not None and page < len(pdf):
            yield Bookmark(level=bookmark.level + 1, title=title, page=page, y=_height(target))


def _height(target: pdfium.PdfDest) -> float | None:
    """The height on its page that a bookmark leads to."""
    mode, place = target.get_view()
    at = {raw.PDFDEST_VIEW_XYZ: 1, raw.PDFDEST_VIEW_FITH: 0, raw.PDFDEST_VIEW_FITBH: 0}.get(mode)
    return None if at is None or at >= len(place) else place[at]


def _words(bookmark: pdfium.PdfBookmark) -> str:
    try:
        return " ".join(clean(bookmark.get_title()).split())
    except UnicodeDecodeError:
        return ""
