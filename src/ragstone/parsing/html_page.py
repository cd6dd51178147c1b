"""An HTML page as a tree, and what in it is content."""

from __future__ import annotations

import re
from collections.abc import Set
from copy import deepcopy
from typing import Any

from lxml.etree import LxmlError, SubElement
from lxml.html import HtmlElement, HTMLParser, document_fromstring
from trafilatura import bare_extraction

from ragstone.errors import BrokenDocument, EmptyDocument

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

MOST_ADDED = 1.5
"""Times the text without headings that a page's text with them may have: more is what stands around it."""

DEEPEST = 50
"""Levels; trafilatura loses text that lies much deeper, and no page that a person wrote needs more."""

_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*>")


def tree(text: str, name: str) -> HtmlElement:
    """The page, without needless levels of depth."""
    parser = HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        page = document_fromstring(_XML_DECLARATION.sub("", text), parser=parser)
    except (LxmlError, ValueError) as error:
        raise BrokenDocument(f"{name} cannot be read as HTML: {error}") from error
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise too_deep(name)  # more than 2,048 levels: the rest was left out
    _flatten(page)
    for code in page.xpath("//pre[not(ancestor::pre)]"):
        _plain_code(code)
    return page


def _flatten(page: HtmlElement) -> None:
    """Boxes and marks around what lies deeper than DEEPEST are taken away: all that walks a tree has its limit."""
    for element in page.xpath(f"//*[ancestor::*[{DEEPEST}]]"):
        if element.tag not in HEADINGS | LISTS | ITEMS | CODE | TABLE:
            element.text = f" {element.text or ''}"
            element.tail = f" {element.tail or ''}"
            element.drop_tag()


def _plain_code(element: HtmlElement) -> None:
    """Without colours and marks, in the one form that trafilatura knows for code in whatever it says."""
    for line_break in element.iter("br"):
        line_break.tail = f"\n{line_break.tail or ''}"
    text, tail = "".join(element.itertext()), element.tail
    element.clear(keep_tail=False)
    element.tail = tail
    SubElement(element, "code").text = text


def content(page: HtmlElement, name: str) -> HtmlElement:
    """What trafilatura takes for the main content; the whole body when that is nothing, or when the page is short.

    A short page gives it too little to go by, and comes back as one loose text without its headings.
    """
    body = page.find("body")
    if body is None:
        raise EmptyDocument(f"{name} has no text in it")
    try:
        found = _extracted(page)
    except RecursionError:
        raise too_deep(name) from None
    except (LxmlError, ValueError) as error:
        raise BrokenDocument(f"{name} cannot be read as HTML: {error}") from error
    if found is None or (len(found.body) < 2 and max(len(found.text or ""), len(inline(body))) < SHORT):
        return body
    return found.body


def _extracted(page: HtmlElement) -> Any:
    """With the headings: trafilatura loses all of them where a page does not say which part of it is its article."""
    found = _bare(deepcopy(page))
    if found is None or _has_heading(found.body) or not _has_heading(page.find("body")):
        return found
    named = deepcopy(page)
    named.find("body").tag = "article"
    named.append(named.makeelement("body"))
    named.find("body").append(named.find("article"))
    again = _bare(named)
    same = again is not None and _has_heading(again.body) and len(again.text) <= MOST_ADDED * len(found.text)
    return again if same else found


def _bare(page: HtmlElement) -> Any:
    return bare_extraction(page, include_comments=False, fast=True, favor_recall=True)


def _has_heading(element: HtmlElement) -> bool:
    return next(element.iter(*HEADINGS), None) is not None


def inline(element: HtmlElement, dropped: Set[str] = SILENT) -> str:
    """All text below an element, its blocks apart; a vertical tab is a line break that is meant."""
    if not isinstance(element.tag, str) or element.tag in dropped:
        return ""
    if element.tag in BREAKS:
        return "\v"
    inner = "".join(inline(child, dropped) + (child.tail or "") for child in element)
    text = (element.text or "") + inner
    return f" {text} " if element.tag in BLOCKS else text


def one_line(element: HtmlElement, dropped: Set[str] = SILENT) -> str:
    return " ".join(inline(element, dropped).split())


def too_deep(name: str) -> BrokenDocument:
    return BrokenDocument(f"{name} is nested too deeply", hint="exclude it, or save it anew")
