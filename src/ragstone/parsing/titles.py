"""Which paragraphs are headings, told by their type: short, by themselves, and larger or bolder than the text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TypeAlias

from ragstone.parsing.paragraphs import Paragraph

LARGER = 1.1
"""A heading's type size is at least this many times the text's, or it is bold."""

LONGEST = 150
"""A heading has no more characters."""

MOST_IN_A_ROW = 4
"""As many headings of one style after each other, nothing between, are no headings: a cover, a list, a form."""

DEEPEST = 6

_LABEL = re.compile(r"(?:\d{1,2}|[A-Z])((?:\.\d{1,2})*)\.?\s+\S")
_CAPTION = re.compile(r"(?:fig|tab|abb|listing|algorithm)\w*\.?\s*\d", re.IGNORECASE)

_Style: TypeAlias = tuple[float, bool, int]
"""Type size to a half point, bold, and the depth of the number in front: what headings of one level share."""


def levels(paragraphs: Sequence[Paragraph], outlined: Mapping[int, int]) -> dict[int, int]:
    """The level (from 1) of each heading that the outline leaves out, by the paragraph's number.

    `outlined` has the levels of the paragraphs that the outline names: a style that it knows keeps its level, what is
    set smaller comes below all of it, and what is larger, such as the document's own title, is left out.
    """
    styles = _heading_styles(paragraphs)
    by_style = _levels_of_styles(set(styles.values()), _known(paragraphs, outlined))
    return {at: by_style[style] for at, style in styles.items() if at not in outlined and style in by_style}


def _heading_styles(paragraphs: Sequence[Paragraph]) -> dict[int, _Style]:
    """The paragraphs that look like headings, of styles that have little other text."""
    size, bold = _body(paragraphs)
    able = {
        at: _style(paragraph)
        for at, paragraph in enumerate(paragraphs[:-1])
        if _stands_out(paragraph, size, bold) and _could_be_heading(paragraph)
    }
    runs = _runs(able)
    able = {at: style for at, style in able.items() if at not in runs}
    every, headings = _characters(paragraphs, range(len(paragraphs))), _characters(paragraphs, able)
    rare = {face for face, count in headings.items() if count > 0.6 * every[face] and count < 0.3 * every.total()}
    return {at: style for at, style in able.items() if style[:2] in rare}


def _body(paragraphs: Sequence[Paragraph]) -> tuple[float, bool]:
    """Size and weight of most of the text."""
    every = _characters(paragraphs, [at for at, paragraph in enumerate(paragraphs) if paragraph.kind != "table"])
    return every.most_common(1)[0][0] if every else (0.0, True)


def _characters(
    paragraphs: Sequence[Paragraph], which: Sequence[int] | Mapping[int, _Style]
) -> Counter[tuple[float, bool]]:
    """How many characters each face has."""
    found: Counter[tuple[float, bool]] = Counter()
    for at in which:
        for line in paragraphs[at].lines:
            found[round(2 * line.size) / 2, line.bold] += len(line.text)
    return found


def _style(paragraph: Paragraph) -> _Style:
    match = _LABEL.match(paragraph.text)
    line = paragraph.lines[0]
    return round(2 * line.size) / 2, line.bold, match[1].count(".") if match else 0


def _stands_out(paragraph: Paragraph, size: float, bold: bool) -> bool:
    line = paragraph.lines[0]
    larger = line.size >= LARGER * size
    return larger or (line.bold and not bold and line.size >= 0.95 * size)


def _could_be_heading(paragraph: Paragraph) -> bool:
    text = paragraph.text
    letters = sum(character.isalpha() for character in text)
    return (
        paragraph.kind in {"paragraph", "list"}
        and len(paragraph.lines) <= 3
        and len(text) <= LONGEST
        and letters >= 3
        and text[0] not in ",;.:)"
        and 2 * letters > len(text)
        and not text.endswith((".", ",", ";", "…"))
        and not _CAPTION.match(text)
    )


def _runs(able: Mapping[int, _Style]) -> set[int]:
    """Those that follow each other, nothing between, too often."""
    found: set[int] = set()
    for _, run in groupby(enumerate(able), key=lambda pair: (pair[1] - pair[0], able[pair[1]])):
        together = [at for _, at in run]
        found.update(together if len(together) >= MOST_IN_A_ROW else ())
    return found


def _known(paragraphs: Sequence[Paragraph], outlined: Mapping[int, int]) -> dict[_Style, int]:
    """The usual level of each style that the outline names."""
    seen: dict[_Style, Counter[int]] = {}
    for at, level in outlined.items():
        seen.setdefault(_style(paragraphs[at]), Counter())[level] += 1
    return {style: counts.most_common(1)[0][0] for style, counts in seen.items()}


def _levels_of_styles(styles: set[_Style], known: Mapping[_Style, int]) -> dict[_Style, int]:
    """Larger before smaller, bold before regular, fewer numbers before more."""
    ranked = sorted(styles - set(known), key=_rank)
    lowest = max(map(_rank, known), default=None)
    below = [style for style in ranked if lowest is None or _rank(style) > lowest]
    deepest = max(known.values(), default=0)
    return {**known, **{style: min(deepest + at, DEEPEST) for at, style in enumerate(below, 1)}}


def _rank(style: _Style) -> tuple[float, bool, int]:
    size, bold, depth = style
    return -size, not bold, depth
