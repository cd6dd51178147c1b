"""Files as the programs of an office write them, and how a document reads."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from ragstone.models import Document


def blocks(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def paths(document: Document) -> list[tuple[str, ...]]:
    return [section.path for section in document.sections]


def saved(file: Any) -> bytes:
    """The bytes of a document of python-docx, python-pptx or openpyxl."""
    target = BytesIO()
    file.save(target)
    return target.getvalue()


def zipped(members: Mapping[str, bytes | str]) -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def changed(data: bytes, changes: Mapping[str, bytes]) -> bytes:
    """A container with some members replaced or added."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return zipped({**{name: archive.read(name) for name in archive.namelist()}, **changes})


def member(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return archive.read(name)
