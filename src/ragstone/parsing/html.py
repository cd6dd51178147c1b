"""HTML: the main content without navigation, footers and scripts, as plain text with its structure known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lxml.html import HtmlElement

from ragstone.models import Document
from ragstone.parsing.decoding import clean
from ragstone.parsing.html_page import (
    BLOCKS,
    CELLS,
    CODE,
    HEADINGS,
    ITEMS,
    LEVELS,
    LISTS,
    ROWS,
    SILENT,
    content,
    inline,
    one_line,
    too_deep,
    tree,
)
from ragstone.parsing.writer import Writer


def parse(text: str, name: str) -> Document:
    """Headings keep their levels, tables become rows `a | b | c`, code stays verbatim. Raises BrokenDocument."""
    page = tree(text, name)
    writer = Writer()
    _read(content(page, name), writer, name)
    document = writer.document(media_type="text/html", metadata=_metadata(page))
    return replace(document, title=_title(page, document.title))


def write_body(writer: Writer, text: str, name: str, title: str = "") -> None:
    """All that a page shows, for pages that are all content: of a book, of a mail.

    `title`: what to call it when it has text but no heading of its own. Raises BrokenDocument.
    """
    body = tree(text, name).find("body")
    if body is None:
        return
    if next(body.iter(*LEVELS), None) is None and one_line(body):
        writer.heading(1, title)
    _read(body, writer, name)


def _title(page: HtmlElement, heading: str) -> str:
    """The page's title; site names around the heading are left off."""
    title = " ".join(clean(page.findtext(".//title") or "").split())
    return heading if not title or (heading and heading in title) else title


def _metadata(page: HtmlElement) -> dict[str, str]:
    language = clean(page.get("lang") or "").strip()
    return {"lang": language} if language else {}


def _read(element: HtmlElement, writer: Writer, name: str) -> None:
    try:
        _Reader(writer).flow(element)
    except RecursionError:
        raise too_deep(name) from None


class _Reader:
    """Reads a tree into a writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def flow(self, element: HtmlElement) -> None:
        """Text between blocks is a paragraph; blocks may stand inside of anything."""
        loose = [element.text or ""]
        for child in element:
            if _is_block(child):
                self._paragraph(loose)
                self._write(child)
                loose = []
            else:
                loose.append(inline(child))
            loose.append(child.tail or "")
        self._paragraph(loose)

    def _write(self, element: HtmlElement) -> None:
        tag = element.tag
        if tag in HEADINGS:
            self._writer.heading(LEVELS.get(element.get("rend") or element.tag, 2), inline(element))
        elif tag in LISTS:
            self._writer.block("list", "\n".join(_items(element, "")))
        elif tag == "table" and not _is_layout(element):
            self._writer.block("table", "\n".join(_rows(element)))
        elif tag in CODE:
            self._writer.block("code", "".join(element.itertext()).strip("\n").rstrip())
        else:
            self.flow(element)

    def _paragraph(self, loose: Sequence[str]) -> None:
        self._writer.block("paragraph", _tidy("".join(loose)))


def _is_block(element: HtmlElement) -> bool:
    if element.tag == "code":
        return "\n" in "".join(element.itertext()) or element.getparent().tag in {"body", "quote"}
    return element.tag in BLOCKS - ITEMS


def _is_layout(table: HtmlElement) -> bool:
    """Whether it only puts things in their places: it has one cell, another table, or a headed text in a cell."""
    if table.get("role") in {"presentation", "none"} or next(table.iterdescendants("table"), None) is not None:
        return True
    headed = ((next(head.iterancestors(*CELLS), head), head) for head in table.iterdescendants(*HEADINGS))
    return (
        any(one_line(cell) != one_line(head) for cell, head in headed) or len(list(table.iterdescendants(*CELLS))) == 1
    )


def _tidy(text: str) -> str:
    """White space as a browser shows it."""
    return "\n".join(" ".join(line.split()) for line in text.split("\v")).strip()


def _items(element: HtmlElement, indent: str) -> Iterator[str]:
    """One line an item, nested lists indented below theirs."""
    ordered = element.tag == "ol" or element.get("rend") == "ol"
    number = 0
    for item in element:
        if item.tag in LISTS:
            yield from _items(item, indent + "  ")
        elif item.tag in ITEMS:
            number += 1
            nested = [child for child in item.iterdescendants(*LISTS) if _list_above(child) is element]
            own = one_line(item, SILENT | LISTS)
            if own:
                yield f"{indent}{f'{number}.' if ordered else '-'} {own}"
            for child in nested:
                yield from _items(child, indent + "  ")


def _list_above(element: HtmlElement) -> HtmlElement | None:
    return next(element.iterancestors(*LISTS), None)


def _rows(table: HtmlElement) -> Iterator[str]:
    """One line a row."""
    for row in table.iter(*ROWS):
        cells = [one_line(cell) for cell in row if cell.tag in CELLS]
        if any(cells):
            yield " | ".join(cells).rstrip(" |")
