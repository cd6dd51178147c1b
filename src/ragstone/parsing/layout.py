"""The fragments of all pages → one text with its blocks, headings and page starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from statistics import median

from ragstone.models import Block, BlockKind
from ragstone.parsing.bookmarks import Bookmark, Place, places
from ragstone.parsing.columns import regions
from ragstone.parsing.fragments import HYPHEN, HYPHENS, Fragment, Fragments, Page, body_size
from ragstone.parsing.hyphens import Hyphens
from ragstone.parsing.lines import Line, lines
from ragstone.parsing.outline import Heading
from ragstone.parsing.paragraphs import Paragraph, paragraphs
from ragstone.parsing.running import without_running
from ragstone.parsing.titles import levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A text and its structure; `title` is the largest paragraph of the first page, if one stands out."""

    title: str
    text: str
    blocks: tuple[Block, ...]
    headings: tuple[Heading, ...]
    page_starts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A paragraph in the text: `text[start:end]`, after `before`."""

    kind: BlockKind
    text: str
    before: str
    start: int
    page: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def layout(pages: Sequence[Page], bookmarks: Sequence[Bookmark]) -> Layout:
    """Lines stay lines; paragraphs stand apart by a blank line; a row of a table is one line."""
    read = _lines(_with_code_apart(pages))
    placed = places(read, bookmarks)
    found = paragraphs(read, {at for place in placed for at in (place.first, place.last)})
    number = {first: at for at, first in enumerate(accumulate((len(p.lines) for p in found), initial=0))}
    outlined = {number[p.first]: p.bookmark.level for p in placed if p.last > p.first}
    others = levels(found, outlined)
    written = _write(found, {*outlined, *others})
    return Layout(
        title=_title(found),
        text="".join(paragraph.before + paragraph.text for paragraph in written),
        blocks=tuple(_blocks(written)),
        headings=tuple(_headings(found, written, {number[p.first]: p for p in placed}, others)),
        page_starts=_page_starts(written, len(pages)),
    )


def _with_code_apart(pages: Sequence[Page]) -> Sequence[Page]:
    """A fixed pitch tells code from text only where it is the exception."""
    fragments = [fragment for page in pages for fragment in page.fragments]
    fixed = sum(len(fragment.text) for fragment in fragments if fragment.mono)
    if 2 * fixed <= sum(len(fragment.text) for fragment in fragments):
        return pages
    return [replace(page, fragments=tuple(replace(f, mono=False) for f in page.fragments)) for page in pages]


def _lines(pages: Sequence[Page]) -> list[Line]:
    """What is read, in reading order, divided words made whole."""
    hyphens = Hyphens(fragment for page in pages for fragment in page.fragments)
    bodies = without_running([page.fragments for page in pages], body_size(pages))
    found: list[Line] = []
    for number, (page, body) in enumerate(zip(pages, bodies, strict=True)):
        for region, fragments in enumerate(_regions(page, body)):
            found += lines(fragments, number, region, hyphens)
    return _mended(found, hyphens)


def _regions(page: Page, body: Fragments) -> list[Sequence[Fragment]]:
    return [*regions(body), *([page.aside] if page.aside else [])]


def _mended(read: Sequence[Line], hyphens: Hyphens) -> list[Line]:
    """A divided word goes to the upper of its lines; a line that it leaves empty goes."""
    found = list(read)
    for at, below in enumerate(read[1:]):
        above = found[at]
        if above.text[-1:] in HYPHENS and _flows(above, below):
            upper, lower = hyphens.mend(above.text, below.text)
            found[at], found[at + 1] = replace(above, text=upper), replace(below, text=lower)
    plain = (replace(line, text=line.text.replace(HYPHEN, "-")) if HYPHEN in line.text else line for line in found)
    return [line for line in plain if line.text]


def _flows(above: Line, below: Line) -> bool:
    """Whether a word may go on in the next line: not from code or a table, nor into a title in the next column."""
    if above.mono or below.mono or above.row is not None or below.row is not None:
        return False
    return (above.page, above.region) == (below.page, below.region) or below.text[:1].islower()


def _write(found: Sequence[Paragraph], headings: set[int]) -> list[_Written]:
    """Items of a list stand below each other, all else a blank line apart."""
    written: list[_Written] = []
    for at, paragraph in enumerate(found):
        kind: BlockKind = "heading" if at in headings else paragraph.kind
        before = ""
        if written:
            before = "\n" if kind == written[-1].kind == "list" else "\n\n"
        written.append(
            _Written(
                kind=kind,
                text=_code(paragraph.lines) if kind == "code" else "\n".join(line.text for line in paragraph.lines),
                before=before,
                start=(written[-1].end if written else 0) + len(before),
                page=paragraph.lines[0].page,
            )
        )
    return written


def _code(code: Sequence[Line]) -> str:
    """Indented as on the page; blank lines where there are gaps."""
    margin = min(line.x0 for line in code)
    width = median((line.x1 - line.x0) / len(line.text) for line in code) or 1.0
    steps = [above.y - below.y for above, below in pairwise(code)]
    usual = min((step for step in steps if step > 0), default=0.0)
    gaps = ["", *("\n\n" if usual and step > 1.7 * usual else "\n" for step in steps)]
    indents = (min(max(round((line.x0 - margin) / width), 0), 80) for line in code)
    return "".join(gap + " " * by + line.text for gap, by, line in zip(gaps, indents, code, strict=True))


def _blocks(written: Sequence[_Written]) -> Iterator[Block]:
    """A list's items are one block."""
    groups: list[list[_Written]] = []
    for paragraph in written:
        if paragraph.before == "\n":
            groups[-1].append(paragraph)
        else:
            groups.append([paragraph])
    return (Block(kind=group[0].kind, start=group[0].start, end=group[-1].end) for group in groups)


def _headings(
    found: Sequence[Paragraph], written: Sequence[_Written], placed: Mapping[int, Place], others: Mapping[int, int]
) -> Iterator[Heading]:
    for at in sorted({*placed, *others}):
        if at in placed:
            mark = placed[at].bookmark
            yield Heading(level=mark.level, title=mark.title, start=written[at].start)
        else:
            yield Heading(level=others[at], title=found[at].text, start=written[at].start)


def _page_starts(written: Sequence[_Written], pages: int) -> tuple[int, ...]:
    """Where each page's first paragraph is; a page without text begins where the next one does."""
    starts = [written[-1].end if written else 0] * pages
    for paragraph in reversed(written):
        starts[paragraph.page] = paragraph.start
    for page in reversed(range(pages - 1)):
        starts[page] = min(starts[page], starts[page + 1])
    return tuple(starts)


def _title(found: Sequence[Paragraph]) -> str:
    first = [paragraph for paragraph in found if paragraph.lines[0].page == 0 and paragraph.kind == "paragraph"]
    sizes = [line.size for paragraph in first for line in paragraph.lines for _ in line.text]
    if not sizes or max(sizes) < 1.2 * median(sizes):
        return ""
    return next(paragraph.text for paragraph in first if any(line.size == max(sizes) for line in paragraph.lines))
