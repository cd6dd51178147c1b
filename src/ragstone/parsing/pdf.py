"""PDF by PDFium: text in reading order, pages, and sections from the outline when there is one."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from ragstone.errors import BrokenDocument, DocumentError, EmptyDocument, EncryptedDocument
from ragstone.models import Document
from ragstone.parsing.decoding import clean
from ragstone.parsing.layout import Bookmark, Line, Page, layout
from ragstone.parsing.outline import sections

PASSWORD_NEEDED = {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}
PLACEHOLDER_TITLES = ("microsoft ", "untitled", "powerpoint ")
HYPHEN_AT_LINE_END = "\ufffe"
"""What PDFium puts in the place of a hyphen that only divides a word."""

_pdfium_lock = threading.Lock()  # PDFium is not thread-safe


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """All that is taken from a PDF before PDFium lets go of it."""

    title: str
    pages: tuple[Page, ...]
    bookmarks: tuple[Bookmark, ...]
    unreadable: tuple[int, ...]


def parse(data: bytes, name: str) -> Document:
    """Raises EncryptedDocument, BrokenDocument, or EmptyDocument when the pages are only pictures."""
    with _pdfium_lock:
        file = _read(data, name)
    if not any(page for page in file.pages):
        raise EmptyDocument(f"{name} has pages but no text: it may be a scan", hint="run it through OCR first")
    written = layout(file.pages, file.bookmarks)
    return Document(
        title=file.title or written.title,
        media_type="application/pdf",
        text=written.text,
        sections=sections(written.text, written.headings),
        blocks=written.blocks,
        page_starts=written.page_starts,
        metadata={"unreadable_pages": list(file.unreadable)} if file.unreadable else {},
    )


def _read(data: bytes, name: str) -> _File:
    try:
        with pdfium.PdfDocument(data) as pdf:
            pages = [_page(pdf, number) for number in range(len(pdf))]
            if all(page is None for page in pages):
                raise BrokenDocument(f"{name} is damaged: none of its pages can be read")
            return _File(
                title=_title(pdf),
                pages=tuple(page or () for page in pages),
                bookmarks=tuple(_bookmarks(pdf)),
                unreadable=tuple(number for number, page in enumerate(pages, 1) if page is None),
            )
    except pdfium.PdfiumError as error:
        raise _typed(error, name) from error


def _typed(error: pdfium.PdfiumError, name: str) -> DocumentError:
    if error.err_code in PASSWORD_NEEDED:
        return EncryptedDocument(f"{name} needs a password", hint="save a copy without one")
    return BrokenDocument(f"{name} is damaged, or no PDF: {error}", hint="open it in a viewer and save it anew")


def _title(pdf: pdfium.PdfDocument) -> str:
    """The title in the metadata, unless a program made it up."""
    title = " ".join(clean(pdf.get_metadata_value("Title")).split())
    return "" if title.lower().startswith(PLACEHOLDER_TITLES) else title


def _page(pdf: pdfium.PdfDocument, number: int) -> Page | None:
    """The lines of a page; None when it cannot be read."""
    try:
        page = pdf[number]
        text = page.get_textpage()
    except pdfium.PdfiumError:
        return None
    try:
        return tuple(_lines(text))
    finally:
        text.close()
        page.close()


def _lines(page: pdfium.PdfTextPage) -> Iterator[Line]:
    start = 0
    for text in page.get_text_range().split("\r\n"):
        words = " ".join(clean(text.replace(HYPHEN_AT_LINE_END, "")).split())
        if words:
            first = start + _utf16_length(text) - _utf16_length(text.lstrip())
            yield _placed(page, words, first, start + _utf16_length(text.rstrip()) - 1)
        start += _utf16_length(text) + 2


def _placed(page: pdfium.PdfTextPage, words: str, index: int, last: int) -> Line:
    """A line between two text indices, and where it stands; all zero when PDFium cannot say."""
    x, y = _origin(page, index)
    size = raw.FPDFText_GetFontSize(page, raw.FPDFText_GetCharIndexFromTextIndex(page, index))
    return Line(text=words, x=x, y=y, last_y=_origin(page, last)[1], size=size)


def _origin(page: pdfium.PdfTextPage, index: int) -> tuple[float, float]:
    x, y = ctypes.c_double(), ctypes.c_double()
    raw.FPDFText_GetCharOrigin(page, raw.FPDFText_GetCharIndexFromTextIndex(page, index), x, y)
    return x.value, y.value


def _utf16_length(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _bookmarks(pdf: pdfium.PdfDocument) -> Iterator[Bookmark]:
    for bookmark in pdf.get_toc():
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        title = _words(bookmark)
        if title and page is not None and page < len(pdf):
            yield Bookmark(level=bookmark.level + 1, title=title, page=page)


def _words(bookmark: pdfium.PdfBookmark) -> str:
    try:
        return " ".join(clean(bookmark.get_title()).split())
    except UnicodeDecodeError:
        return ""
