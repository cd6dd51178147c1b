"""Where a block may be cut when it has to be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

from ragstone.chunking.sentences import sentence_spans
from ragstone.models import BlockKind

Cut: TypeAlias = Callable[[str, str], Iterable[int]]
"""(text, language) → offsets at which a part of the text begins."""

_ITEM = re.compile(r"^[ \t]*(?:[-*+•–]|\d{1,9}[.)])[ \t]", re.M)
_LINE = re.compile(r"\n+")


def sentences(text: str, language: str) -> Iterable[int]:
    return (start for start, _ in sentence_spans(text, language))


def items(text: str, language: str) -> Iterable[int]:
    """The markers of a list, at any depth."""
    return (match.start() for match in _ITEM.finditer(text))


def lines(text: str, language: str) -> Iterable[int]:
    return (match.end() for match in _LINE.finditer(text))


CUTS: dict[BlockKind, tuple[Cut, ...]] = {
    "heading": (),
    "paragraph": (sentences,),
    "list": (items, sentences),
    "table": (lines,),
    "code": (lines,),
}
"""For each kind of block, the ways to cut it, coarsest first."""
