"""Writes a document down block by block, and keeps count of where everything stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ragstone.models import Block, BlockKind, Document, Metadata
from ragstone.parsing.decoding import clean
from ragstone.parsing.outline import Heading, first_title, sections


@dataclass(slots=True)
class Writer:
    """Blocks stand apart by a blank line; those without a word in them are left out."""

    blocks: list[Block] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    _parts: list[str] = field(default_factory=list)
    _length: int = 0

    @property
    def next_start(self) -> int:
        """Where the next block will begin."""
        return self._length + 2 if self._parts else 0

    def block(self, kind: BlockKind, text: str) -> None:
        content = clean(text)
        if not content.strip():
            return
        start = self.next_start
        self._parts.append(content)
        self._length = start + len(content)
        self.blocks.append(Block(kind=kind, start=start, end=self._length))

    def heading(self, level: int, title: str) -> None:
        """Begins a section. `level` counts from 1."""
        words = " ".join(clean(title).split())
        if words:
            self.headings.append(Heading(level=level, title=words, start=self.next_start))
            self.block("heading", words)

    def document(
        self, *, media_type: str, title: str = "", metadata: Metadata | None = None, page_starts: Sequence[int] = ()
    ) -> Document:
        """All that was written. A document without a title has its first heading's."""
        text = "\n\n".join(self._parts)
        return Document(
            title=" ".join(clean(title).split()) or first_title(text, self.headings),
            media_type=media_type,
            text=text,
            sections=sections(text, self.headings),
            blocks=tuple(self.blocks),
            page_starts=tuple(min(start, len(text)) for start in page_starts),
            metadata=metadata or {},
        )
