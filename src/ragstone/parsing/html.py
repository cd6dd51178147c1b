"""HTML: the main content without navigation, footers and scripts, as plain text with its structure known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from copy import deepcopy
from dataclasses import replace

from lxml.etree import LxmlError
from lxml.html import HtmlElement, HTMLParser, document_fromstring
from trafilatura import bare_extraction

from ragstone.errors import BrokenDocument, EmptyDocument
from ragstone.models import Document
from ragstone.parsing.decoding import clean
from ragstone.parsing.writer import Writer

# Two vocabularies: what trafilatura makes of a page, and plain HTML, which is read when it finds no content.
LEVELS = {f"h{level}": level for level in range(1, 7)}
HEADINGS = {"head", *LEVELS}
LISTS = {"list", "ul", "ol", "dl"}
ITEMS = {"item", "li", "dt", "dd"}
CODE = {"pre", "code"}
FLOW = {"body", "main", "article", "section", "div", "p", "quote", "blockquote", "details", "figure", "center", "form"}
ROWS = {"row", "tr"}
CELLS = {"cell", "td", "th"}
TABLE = {"table", "thead", "tbody", "tfoot", "caption", *ROWS, *CELLS}
BLOCKS = HEADINGS | LISTS | ITEMS | FLOW | TABLE | {"pre"}
BREAKS = {"lb", "br"}
SILENT = {"script", "style", "noscript", "template", "svg", "nav", "footer", "iframe", "select", "button"}
SHORT = 1000
"""Characters of a page's whole text."""

DEEPEST = 50
"""Levels; trafilatura loses text that lies much deeper, and no page that a person wrote needs more."""

_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*>")


def parse(text: str, name: str) -> Document:
    """Headings keep their levels, tables become rows `a | b | c`, code stays verbatim. Raises BrokenDocument."""
    page = _tree(text, name)
    writer = Writer()
    _read(_content(page, name), writer, name)
    document = writer.document(media_type="text/html", metadata=_metadata(page))
    return replace(document, title=_title(page, document.title))


def write_body(writer: Writer, text: str, name: str, title: str = "") -> None:
    """All that a page shows, for pages that are all content: of a book, of a mail.

    `title`: what to call it when it has text but no heading of its own. Raises BrokenDocument.
    """
    body = _tree(text, name).find("body")
    if body is None:
        return
    if next(body.iter(*LEVELS), None) is None and _line(body):
        writer.heading(1, title)
    _read(body, writer, name)


def _tree(text: str, name: str) -> HtmlElement:
    """The page, without needless levels of depth."""
    parser = HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        page = document_fromstring(_XML_DECLARATION.sub("", text), parser=parser)
    except (LxmlError, ValueError) as error:
        raise BrokenDocument(f"{name} cannot be read as HTML: {error}") from error
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise _nested(name)  # more than 2,048 levels: the rest was left out
    _flatten(page)
    return page


def _flatten(page: HtmlElement) -> None:
    """Boxes and marks around what lies deeper than DEEPEST are taken away: all that walks a tree has its limit."""
    for element in page.xpath(f"//*[ancestor::*[{DEEPEST}]]"):
        if element.tag not in HEADINGS | LISTS | ITEMS | CODE | TABLE:
            element.text = f" {element.text or ''}"
            element.tail = f" {element.tail or ''}"
            element.drop_tag()


def _content(page: HtmlElement, name: str) -> HtmlElement:
    """What trafilatura takes for the main content; the whole body when that is nothing, or when the page is short.

    A short page gives it too little to go by, and comes back as one loose text without its headings.
    """
    body = page.find("body")
    if body is None:
        raise EmptyDocument(f"{name} has no text in it")
    try:
        found = bare_extraction(deepcopy(page), include_comments=False, fast=True, favor_recall=True)
    except RecursionError:
        raise _nested(name) from None
    except (LxmlError, ValueError) as error:
        raise BrokenDocument(f"{name} cannot be read as HTML: {error}") from error
    if found is None or (len(found.body) < 2 and max(len(found.text or ""), len(_inline(body))) < SHORT):
        return body
    return found.body


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
        raise _nested(name) from None


def _nested(name: str) -> BrokenDocument:
    return BrokenDocument(f"{name} is nested too deeply", hint="exclude it, or save it anew")


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
                loose.append(_inline(child))
            loose.append(child.tail or "")
        self._paragraph(loose)

    def _write(self, element: HtmlElement) -> None:
        tag = element.tag
        if tag in HEADINGS:
            self._writer.heading(LEVELS.get(element.get("rend") or element.tag, 2), _inline(element))
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
    return any(_line(cell) != _line(head) for cell, head in headed) or len(list(table.iterdescendants(*CELLS))) == 1


def _inline(element: HtmlElement, dropped: Set[str] = SILENT) -> str:
    """All text below an element, its blocks apart; a vertical tab is a line break that is meant."""
    if not isinstance(element.tag, str) or element.tag in dropped:
        return ""
    if element.tag in BREAKS:
        return "\v"
    inner = "".join(_inline(child, dropped) + (child.tail or "") for child in element)
    text = (element.text or "") + inner
    return f" {text} " if element.tag in BLOCKS else text


def _line(element: HtmlElement, dropped: Set[str] = SILENT) -> str:
    return " ".join(_inline(element, dropped).split())


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
            own = _line(item, SILENT | LISTS)
            if own:
                yield f"{indent}{f'{number}.' if ordered else '-'} {own}"
            for child in nested:
                yield from _items(child, indent + "  ")


def _list_above(element: HtmlElement) -> HtmlElement | None:
    return next(element.iterancestors(*LISTS), None)


def _rows(table: HtmlElement) -> Iterator[str]:
    """One line a row."""
    for row in table.iter(*ROWS):
        cells = [_line(cell) for cell in row if cell.tag in CELLS]
        if any(cells):
            yield " | ".join(cells).rstrip(" |")
