"""The one door into the room: tell the kind, hand over to its parser, refuse what has no text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from ragstone.errors import EmptyDocument
from ragstone.models import Document
from ragstone.parsing.decoding import decode
from ragstone.parsing.kinds import binary_kind, text_kind

PARSER_VERSION = "1"
"""Raised whenever the same bytes give another text, section or block: it is part of a generation's settings."""


def parse(data: bytes, name: str) -> Document:
    """The document in these bytes. Its kind is told by content first and by the name's suffix second.

    A document that names itself nowhere is called after its file.

    Raises a DocumentError: EmptyDocument, UnsupportedDocument, EncryptedDocument or BrokenDocument. Takes CPU time;
    safe to call from many threads.
    """
    if not data.strip():
        raise EmptyDocument(f"{name} is empty")
    document = _parse_pdf(data, name) if binary_kind(data, name) == "pdf" else _parse_text(data, name)
    if not document.text.strip():
        raise EmptyDocument(f"{name} has no text in it")
    return document if document.title else replace(document, title=PurePosixPath(name).name or name)


def _parse_pdf(data: bytes, name: str) -> Document:
    from ragstone.parsing import pdf

    return pdf.parse(data, name)


def _parse_text(data: bytes, name: str) -> Document:
    text = decode(data, name)
    match text_kind(text, name):
        case "html":
            from ragstone.parsing import html

            return html.parse(text, name)
        case "markdown":
            from ragstone.parsing import markdown

            return markdown.parse(text)
        case block_kind:
            from ragstone.parsing import plain

            return plain.parse(text, block_kind)
