"""Word documents by python-docx: sections by heading styles, lists, tables, code, footnotes where they are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from typing import Any

import docx
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml

from ragstone.models import BlockKind, Document
from ragstone.parsing import office
from ragstone.parsing.records import bare_row
from ragstone.parsing.writer import Writer

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
WRAPPERS = {qn("w:sdt"), qn("w:sdtContent"), qn("w:customXml"), qn("w:smartTag"), qn("w:ins"), qn("w:moveTo")}
DROPPED = {qn("w:del"), qn("w:moveFrom"), "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"}
APART = {qn("w:pPr"), qn("w:rPr"), qn("w:txbxContent")}
WORDS = {qn("w:t"), qn("m:t")}
MARKS = {qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:tab"): "\t", qn("w:noBreakHyphen"): "-"}
TEXT_LEVEL = 10
"""Outline levels count from 0; the tenth is that of text."""

FOOTNOTES = "/footnotes"
"""How the type of the relation to a document's footnotes ends."""

_HEADING = re.compile(r"heading ([1-9])", re.I)
_CODE = re.compile(r"\bcode|preformatted|verbatim|^macro", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A paragraph or a table. `level` is a heading's; consecutive list items and lines of code belong together."""

    kind: BlockKind
    text: str
    level: int = 0


def parse(content: BytesIO, name: str) -> Document:
    """The body, with accepted changes; no headers, footers, comments or table of contents. Raises BrokenDocument."""
    with office.faults(name):
        document = docx.Document(content)
        reader = _Reader(document)
        writer = Writer()
        _write(writer, reader.pieces(document.element.body))
        properties = document.core_properties
        return writer.document(
            media_type=MEDIA_TYPE,
            title=reader.title or office.title(properties.title),
            metadata=office.metadata(properties.author),
        )


def _write(writer: Writer, pieces: Iterable[Piece]) -> None:
    for kind, group in groupby(pieces, key=lambda piece: piece.kind):
        if kind in {"list", "code"}:
            writer.block(kind, "\n".join(piece.text for piece in group))
            continue
        for piece in group:
            if kind == "heading":
                writer.heading(piece.level, piece.text)
            else:
                writer.block(kind, piece.text)


class _Reader:
    """What has to be known of a document to read its paragraphs: styles, numberings and footnotes."""

    def __init__(self, document: Any) -> None:
        self.title = ""
        self._styles = {style.style_id: _chain(style) for style in document.styles}
        self._footnotes = dict(_footnotes(document))
        self._numberings = _numberings(document)
        self._counts: Counter[tuple[str, int]] = Counter()

    def pieces(self, parent: Any) -> Iterator[Piece]:
        for element in parent:
            if element.tag == qn("w:p"):
                yield from self._paragraph(element)
                for box in _boxes(element):
                    yield from self.pieces(box)
            elif element.tag == qn("w:tbl"):
                yield Piece(kind="table", text="\n".join(self._rows(element)))
            elif element.tag in WRAPPERS:
                yield from self.pieces(element)

    def _paragraph(self, element: Any) -> Iterator[Piece]:
        styles = self._styles.get(element.style, [])
        names = [style.name or "" for style in styles]
        holders = [element, *(style.element for style in styles)]
        text = "".join(self._runs(element))
        if any(name.lower().startswith("toc ") for name in names) or not text.strip():
            pass
        elif level := _heading_level(holders, names):
            yield Piece(kind="heading", text=text, level=level)
        elif any(_CODE.search(name) for name in names):
            yield Piece(kind="code", text=text.rstrip())
        elif names and names[0] == "Title":
            self.title = self.title or " ".join(text.split())
            yield Piece(kind="paragraph", text=text.strip())
        elif (mark := self._mark(holders, names)) is not None:
            yield Piece(kind="list", text=f"{mark} {' '.join(text.split())}")
        else:
            yield Piece(kind="paragraph", text=text.strip())

    def _mark(self, holders: list[Any], names: list[str]) -> str | None:
        """What stands before a list's item, indented by its level; None for no list."""
        numbering = _numbering(holders)
        if numbering is None:
            if not any(name.startswith("List ") and "Paragraph" not in name for name in names):
                return None
            numbering = names[0], 0
        number, level = numbering
        formats = self._numberings.get(number, {})
        if formats.get(level, "decimal" if "List Number" in names else "bullet") == "bullet":
            return "  " * level + "-"
        self._counts[number, level] += 1
        for deeper in [key for key in self._counts if key[0] == number and key[1] > level]:
            del self._counts[deeper]
        return "  " * level + f"{self._counts[number, level]}."

    def _rows(self, table: Any) -> Iterator[str]:
        """A merged cell's text stands where the cell begins."""
        for row in table.iter(qn("w:tr")):
            if next(row.iterancestors(qn("w:tbl"))) is table:
                yield bare_row([self._cell(cell) for cell in row.iter(qn("w:tc")) if _row_of(cell) is row])

    def _cell(self, cell: Any) -> str:
        merged = cell.find(f"{qn('w:tcPr')}/{qn('w:vMerge')}")
        if merged is not None and merged.get(qn("w:val"), "continue") == "continue":
            return ""
        return " ".join("".join(self._runs(paragraph)) for paragraph in cell.iter(qn("w:p")))

    def _runs(self, element: Any) -> Iterator[str]:
        """The text of a paragraph: a footnote stands in brackets where it is called; text boxes are left out."""
        for child in element:
            if child.tag in WORDS:
                yield child.text or ""
            elif child.tag in MARKS:
                yield MARKS[child.tag]
            elif child.tag == qn("w:footnoteReference"):
                yield self._footnotes.get(child.get(qn("w:id")), "")
            elif child.tag not in DROPPED | APART:
                yield from self._runs(child)


def _boxes(paragraph: Any) -> Iterator[Any]:
    """The text boxes anchored in a paragraph, without those in another box, and each only once."""
    for box in paragraph.iter(qn("w:txbxContent")):
        above = list(box.iterancestors())
        anchor = next(each for each in above if each.tag == qn("w:p"))
        if anchor is paragraph and not DROPPED & {each.tag for each in above}:
            yield box


def _chain(style: Any) -> list[Any]:
    """A style and those it is based on; a file may base one on itself."""
    chain: list[Any] = []
    while style is not None and style not in chain:
        chain.append(style)
        style = getattr(style, "base_style", None)
    return chain


def _heading_level(holders: Iterable[Any], names: Iterable[str]) -> int:
    """1 to 9, by the outline level of a paragraph or its styles, or by their names; 0 for what is no heading."""
    for holder in holders:
        outline = holder.find(f"{qn('w:pPr')}/{qn('w:outlineLvl')}")
        if outline is not None:
            return (int(outline.get(qn("w:val"))) + 1) % TEXT_LEVEL
    return next((int(match[1]) for name in names if (match := _HEADING.match(name))), 0)


def _numbering(holders: Iterable[Any]) -> tuple[str, int] | None:
    """The list and the level in it that a paragraph, or its style, is numbered by."""
    for holder in holders:
        found = holder.find(f"{qn('w:pPr')}/{qn('w:numPr')}")
        if found is not None and found.find(qn("w:numId")) is not None:
            level = found.find(qn("w:ilvl"))
            number = found.find(qn("w:numId")).get(qn("w:val"))
            return None if number == "0" else (number, int(level.get(qn("w:val"))) if level is not None else 0)
    return None


def _row_of(cell: Any) -> Any:
    return next(cell.iterancestors(qn("w:tr")))


def _footnotes(document: Any) -> Iterator[tuple[str, str]]:
    for relation in document.part.rels.values():
        if relation.reltype.endswith(FOOTNOTES) and not relation.is_external:
            for note in parse_xml(relation.target_part.blob).iter(qn("w:footnote")):
                text = " ".join("".join(part.text or "" for part in note.iter(qn("w:t"))).split())
                if text:
                    yield note.get(qn("w:id")), f" [{text}]"


def _numberings(document: Any) -> dict[str, dict[int, str]]:
    """The format of each level of each list, such as `bullet` or `decimal`."""
    relations = document.part.rels.values()
    part = next((each.target_part for each in relations if each.reltype.endswith("/numbering")), None)
    if part is None:
        return {}
    root = parse_xml(part.blob)
    abstract = {each.get(qn("w:abstractNumId")): _formats(each) for each in root.iter(qn("w:abstractNum"))}
    links = ((each.get(qn("w:numId")), each.find(qn("w:abstractNumId"))) for each in root.iter(qn("w:num")))
    return {number: abstract.get(link.get(qn("w:val")), {}) for number, link in links if link is not None}


def _formats(numbering: Any) -> dict[int, str]:
    levels = ((each.get(qn("w:ilvl")), each.find(qn("w:numFmt"))) for each in numbering.iter(qn("w:lvl")))
    return {int(level): form.get(qn("w:val")) for level, form in levels if level and form is not None}
