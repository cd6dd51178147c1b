"""Plain text and source code: a block is what stands between blank lines."""

from __future__ import annotations

import re

from ragstone.models import Block, BlockKind, Document
from ragstone.parsing.outline import sections

MEDIA_TYPES: dict[str, str] = {"table": "text/csv", "code": "text/x-source"}

_PARAGRAPH = re.compile(r"\S[^\n]*(?:\n[^\n]*\S[^\n]*)*")


def parse(text: str, kind: BlockKind) -> Document:
    """One section, and blocks of one kind. Plain text has no title of its own."""
    return Document(
        title="",
        media_type=MEDIA_TYPES.get(kind, "text/plain"),
        text=text,
        sections=sections(text, []),
        blocks=tuple(Block(kind=kind, start=m.start(), end=m.end()) for m in _PARAGRAPH.finditer(text)),
    )
