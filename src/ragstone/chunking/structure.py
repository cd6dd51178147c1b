"""Chunks that follow the document: sections first, then whole blocks, then sentences, rows or lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ragstone.chunking.draft import Draft, Measure
from ragstone.chunking.packing import Packing
from ragstone.chunking.pieces import Piece, by_section, fitted
from ragstone.models import Chunk, Document
from ragstone.tokens import TokenCounter

SMALL = 6
"""A section smaller than one of this many parts of a chunk shares one with its neighbours."""


class Structure:
    """Packs blocks up to the limit, section by section.

    - A heading stays with the text that follows it.
    - Small sections share a chunk with their neighbours under the same parent.
    - Sentences, rows, items and code are whole wherever the limit allows.
    - Neighbouring chunks of one section overlap by whole sentences, rows, items or blocks.
    """

    def __init__(self, count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> None:
        self._measure = Measure(count, max_tokens, prefix=prefix)
        self._overlap = int(overlap * max_tokens)

    def chunk(self, document: Document) -> list[Chunk]:
        """The document's sections in order, the small ones joined, each packed into chunks."""
        draft = Draft(document, self._measure)
        chunks: list[Chunk] = []
        for group in _joined(by_section(draft), draft):
            chunks.extend(Packing(draft, list(fitted(draft, group)), self._overlap).chunks(len(chunks)))
        return chunks


def _joined(sections: Iterable[list[Piece]], draft: Draft) -> Iterator[list[Piece]]:
    """Sections by the chunks they share: small ones with their neighbours, bare headings with what follows."""
    group: list[Piece] = []
    for section in sections:
        if group and _belong_together(group, section, draft):
            group.extend(section)
        else:
            if group:
                yield group
            group = section
    if group:
        yield group


def _belong_together(group: Sequence[Piece], section: Sequence[Piece], draft: Draft) -> bool:
    words, sections = draft.words, draft.document.sections
    parent = sections[group[0].section].parent
    if parent is not None and words.starts[section[0].first] >= sections[parent].end:
        return False
    small = draft.measure.max_tokens // SMALL
    if group[-1].kind == "heading" or words.size(group[0].first, group[-1].last) < small:
        return True
    bare = all(piece.kind == "heading" for piece in section)
    with_subsections = words.size(section[0].first, words.at(sections[section[0].section].end))
    together = words.size(group[0].first, section[-1].last)
    return not bare and with_subsections < small and together <= draft.room(group[0].first)
