"""The one door into the room: tell the kind, hand over to its parser, refuse what has no text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from io import BytesIO
from pathlib import PurePosixPath

from ragstone.errors import EmptyDocument, UnsupportedDocument
from ragstone.models import Document
from ragstone.parsing import plain
from ragstone.parsing.archive import Archive
from ragstone.parsing.decoding import decode
from ragstone.parsing.kinds import binary_kind, text_kind
from ragstone.parsing.outline import shortened

PARSER_VERSION = "2"
"""Raised whenever the same bytes give another text, section or block: it is part of a generation's settings."""


def parse(data: bytes, name: str, charset: str | None = None, ocr: str | None = None) -> Document:
    """The document in these bytes. Its kind is told by content first and by the name's suffix second.

    `charset`: what the source says of a text's encoding. `ocr`: the languages in which to read scans, such as
    `eng+deu`; None leaves them unread. A document that names itself nowhere is called after its file.

    Raises a DocumentError: EmptyDocument, UnsupportedDocument, EncryptedDocument, BrokenDocument or
    DocumentTooCostly. Takes CPU time; safe to call from many threads.
    """
    if not data.strip():
        raise EmptyDocument(f"{name} is empty")
    document = _parse(data, name, charset, ocr)
    if not document.text.strip():
        raise EmptyDocument(f"{name} has no text in it")
    return replace(document, title=shortened(document.title or PurePosixPath(name).name or name))


def _parse(data: bytes, name: str, charset: str | None, ocr: str | None) -> Document:
    match binary_kind(data, name):
        case "pdf":
            return _parse_pdf(data, name, ocr)
        case "epub":
            from ragstone.parsing import epub

            return epub.parse(Archive(data, name), name)
        case "mail":
            from ragstone.parsing import mail

            return mail.parse(data, name)
        case "text":
            return _parse_text(decode(data, name, charset), name)
        case office_kind:
            from ragstone.parsing import office

            return _office_parser(office_kind, name)(office.unpacked(Archive(data, name)), name)


def _parse_pdf(data: bytes, name: str, ocr: str | None) -> Document:
    from ragstone.parsing import pdf

    try:
        return pdf.parse(data, name)
    except EmptyDocument:
        if ocr is None:
            raise
    from ragstone.parsing.ocr import parse_scan

    return parse_scan(data, name, ocr)


def _office_parser(kind: str, name: str) -> Callable[[BytesIO, str], Document]:
    try:
        parser: Callable[[BytesIO, str], Document] = import_module(f"ragstone.parsing.{kind}").parse
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in {"docx", "openpyxl", "pptx"}:
            raise
        raise UnsupportedDocument(
            f"{name} is a {kind} file, and what reads them is not installed", hint="pip install 'ragstone[office]'"
        ) from error
    return parser


def _parse_text(text: str, name: str) -> Document:
    match text_kind(text, name):
        case "html":
            from ragstone.parsing import html

            return html.parse(text, name)
        case "markdown":
            from ragstone.parsing import markdown

            return markdown.parse(text)
        case "csv":
            from ragstone.parsing import csv

            return csv.parse(text)
        case "json":
            from ragstone.parsing import json

            return json.parse(text, name) or json.parse_lines(text, name) or plain.parse(text, "code")
        case "jsonl":
            from ragstone.parsing import json

            return json.parse_lines(text, name) or plain.parse(text, "code")
        case block_kind:
            return plain.parse(text, block_kind)
