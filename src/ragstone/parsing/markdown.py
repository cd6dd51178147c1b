"""Markdown (CommonMark with tables): its text is the source itself, so every offset is exact."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ragstone.models import Block, BlockKind, Document
from ragstone.parsing import frontmatter
from ragstone.parsing.outline import Heading, first_title, sections

KINDS: dict[str, BlockKind] = {
    "heading_open": "heading",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "fence": "code",
    "code_block": "code",
    "table_open": "table",
}
"""Any other block is a paragraph: quotes, HTML, rules."""

LONGEST_UNDERLINED = 200
"""Characters of a heading that is one by the line under it: more is a paragraph that a rule happens to follow."""

LONGEST_PARSED = 2000
"""Characters of a heading in which markup is looked for: brackets that nothing closes take very long."""

_ATTRIBUTES = re.compile(r"\s*\{\s*[#.][^{}]*\}\s*$")


def parse(text: str) -> Document:
    """Sections come from headings that stand outside of lists, quotes and code."""
    metadata, body = frontmatter.split(text)
    tokens = _without_false_headings(_blocks_only().parse(body))
    blocks = tuple(_blocks(tokens, body))
    headings = _headings(tokens, blocks)
    return Document(
        title=_clean(metadata.get("title")) or first_title(body, headings),
        media_type="text/markdown",
        text=body,
        sections=sections(body, headings),
        blocks=blocks,
        metadata=metadata,
    )


def _blocks_only() -> MarkdownIt:
    """Inline markup is parsed in headings alone, which makes the whole several times faster."""
    markdown = MarkdownIt("commonmark").enable("table")
    markdown.core.ruler.enableOnly(["normalize", "block"])
    return markdown


def _without_false_headings(tokens: Sequence[Token]) -> Sequence[Token]:
    for token, content in pairwise(tokens):
        if token.type == "heading_open" and token.markup in {"=", "-"} and len(content.content) > LONGEST_UNDERLINED:
            token.type = "paragraph_open"
    return tokens


def _blocks(tokens: Sequence[Token], text: str) -> Iterator[Block]:
    line_starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
    for token in tokens:
        if token.level == 0 and token.nesting >= 0 and token.map:
            start, end = line_starts[token.map[0]], line_starts[token.map[1]]
            blank = len(text[start:end]) - len(text[start:end].lstrip("\n"))
            yield Block(
                kind=KINDS.get(token.type, "paragraph"),
                start=start + blank,
                end=start + len(text[start:end].rstrip()),
            )


def _headings(tokens: Sequence[Token], blocks: Sequence[Block]) -> list[Heading]:
    """A heading without words begins no section."""
    inline = MarkdownIt("commonmark").enable("strikethrough")
    starts = iter(block.start for block in blocks if block.kind == "heading")
    found = [
        Heading(level=int(token.tag[1]), title=_plain(inline, content.content), start=next(starts))
        for token, content in pairwise(tokens)
        if token.type == "heading_open" and token.level == 0
    ]
    return [heading for heading in found if heading.title]


def _plain(inline: MarkdownIt, source: str) -> str:
    """A heading's words, without markup and without a trailing `{#id}`."""
    tokens = inline.parseInline(_ATTRIBUTES.sub("", source[:LONGEST_PARSED]))[0].children or []
    return " ".join("".join(_words(tokens)).split())


def _words(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in {"text", "code_inline"}:
            yield token.content
        elif token.type in {"softbreak", "hardbreak"}:
            yield " "
        elif token.children:
            yield from _words(token.children)


def _clean(title: object) -> str:
    return " ".join(str(title or "").split())
