"""What passes between the pool and its parser processes: frames of JSON and bytes, each with its length in front.

A parser process reads hostile bytes. Should a document ever take one over, all that it can send is checked here: at
worst a wrong document, never an object with code behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ragstone.errors import DocumentError
from ragstone.models import Document

if TYPE_CHECKING:
    from pydantic import TypeAdapter

PREFIX = 8
"""Bytes that hold a frame's length, big-endian."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is said of a document; its bytes are the next frame."""

    name: str
    charset: str | None
    ocr: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A DocumentError on its way."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One of the two."""

    document: Document | None = None
    failure: Failure | None = None


def frame(payload: bytes) -> bytes:
    return prefix(payload) + payload


def prefix(payload: bytes) -> bytes:
    return len(payload).to_bytes(PREFIX, "big")


def encode(record: Request | Reply) -> bytes:
    """Raises ValueError for what JSON or UTF-8 cannot hold, such as NaN or half a surrogate pair."""
    return json.dumps(record, default=_fields, ensure_ascii=False, allow_nan=False, check_circular=False).encode()


def decode_request(payload: bytes) -> Request:
    return Request(**json.loads(payload))


def decode_reply(payload: bytes) -> Document | DocumentError:
    """Raises ValueError for what is neither."""
    reply = _replies().validate_json(payload)
    if reply.failure:
        return _error(reply.failure)
    if reply.document is None or not _is_sound(reply.document):
        raise ValueError("no document that holds together")
    return reply.document


def failure(error: DocumentError) -> Reply:
    """A message may quote any bytes of a document; half a surrogate pair cannot be sent."""
    message = str(error).encode("utf-8", "backslashreplace").decode()
    return Reply(failure=Failure(code=error.code, message=message, hint=error.hint))


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


@cache
def _replies() -> TypeAdapter[Reply]:
    from pydantic import TypeAdapter

    return TypeAdapter(Reply)


def _error(failure: Failure) -> DocumentError:
    for kind in _kinds(DocumentError):
        if kind.code == failure.code:
            return kind(failure.message, hint=failure.hint)
    raise ValueError(f"no error has the code {failure.code}")


def _kinds(root: type[DocumentError]) -> Iterator[type[DocumentError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _kinds(kind)


def _is_sound(document: Document) -> bool:
    """All places lie in the text and in order, and the catalog can hold every word."""
    spans = [(0, 0), *((block.start, block.end) for block in document.blocks)]
    pages = [0, *document.page_starts, len(document.text)]
    words = [document.text, document.title, *(name for section in document.sections for name in section.path)]
    return (
        all(before[1] <= start <= end for before, (start, end) in pairwise(spans))
        and spans[-1][1] <= len(document.text)
        and all(before <= after for before, after in pairwise(pages))
        and all(_section_is_sound(document, ordinal) for ordinal in range(len(document.sections)))
        and not any("\0" in word for word in words)
        and r"\u0000" not in json.dumps(document.metadata, allow_nan=False).replace(r"\\", "")
    )


def _section_is_sound(document: Document, ordinal: int) -> bool:
    section = document.sections[ordinal]
    return (
        section.ordinal == ordinal
        and (section.parent is None or 0 <= section.parent < ordinal)
        and 0 <= section.start <= section.end <= len(document.text)
    )
