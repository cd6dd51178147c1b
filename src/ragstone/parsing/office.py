"""What Word, PowerPoint and Excel files share: a ZIP container of XML parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from zipfile import ZipFile

from ragstone.errors import BrokenDocument, DocumentError
from ragstone.models import Metadata
from ragstone.parsing.archive import Archive

MARKUP = (".xml", ".rels")

CONTENT_TYPES = "[Content_Types].xml"
READ_AS: tuple[tuple[bytes, bytes], ...] = tuple(
    (variant, f"openxmlformats-officedocument.{main}.main+xml".encode())
    for main, variants in {
        "wordprocessingml.document": (
            b"openxmlformats-officedocument.wordprocessingml.template.main+xml",
            b"ms-word.document.macroEnabled.main+xml",
            b"ms-word.template.macroEnabledTemplate.main+xml",
        ),
        "presentationml.presentation": (
            b"openxmlformats-officedocument.presentationml.template.main+xml",
            b"openxmlformats-officedocument.presentationml.slideshow.main+xml",
            b"ms-powerpoint.presentation.macroEnabled.main+xml",
            b"ms-powerpoint.slideshow.macroEnabled.main+xml",
            b"ms-powerpoint.template.macroEnabled.main+xml",
        ),
    }.items()
    for variant in variants
)
"""Templates, slide shows and files with macros hold the same as plain ones, but the libraries refuse them."""

PLACEHOLDER_TITLES = ("untitled", "powerpoint presentation", "word document", "microsoft word")


def unpacked(archive: Archive) -> BytesIO:
    """The container written anew without compression: its XML as it is, pictures and the like as empty files.

    The libraries then read only what has been counted and looked at. Raises what `Archive.read_xml` raises.
    """
    target = BytesIO()
    with ZipFile(target, "w") as copy:
        for member in dict.fromkeys(archive.names):
            content = archive.read_xml(member) if member.lower().endswith(MARKUP) else b""
            copy.writestr(member, _read_as_plain(content) if member == CONTENT_TYPES else content)
    target.seek(0)
    return target


@contextmanager
def faults(name: str) -> Iterator[None]:
    """What the libraries let out when they stumble over a file, as BrokenDocument."""
    try:
        yield
    except (DocumentError, MemoryError):
        raise
    except Exception as error:
        raise BrokenDocument(
            f"{name} is damaged: {type(error).__name__}: {error}", hint="open it in its program and save it anew"
        ) from error


def title(stored: str | None) -> str:
    """The title among a file's properties, unless a program made it up."""
    words = " ".join((stored or "").split())
    return "" if words.lower().startswith(PLACEHOLDER_TITLES) else words


def metadata(author: str | None) -> Metadata:
    words = " ".join((author or "").split())
    return {"author": words} if words else {}


def _read_as_plain(content_types: bytes) -> bytes:
    for variant, plain in READ_AS:
        content_types = content_types.replace(variant, plain)
    return content_types
