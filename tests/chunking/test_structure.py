from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.chunker import ADDITIVE, LIMITS, MARKDOWN, OVERLAPS, ChunkerContract, characters, words
from ragstone.chunking.base import Chunker
from ragstone.chunking.sentences import sentence_spans
from ragstone.chunking.structure import Structure
from ragstone.models import Block, Chunk, Document
from ragstone.parsing.outline import Heading, sections
from ragstone.parsing.parse import parse
from ragstone.tokens import TokenCounter


class TestStructure(ChunkerContract):
    @staticmethod
    def make(count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> Chunker:
        return Structure(count, max_tokens, overlap, prefix)


def chunk(text: str, limit: int = 60, overlap: float = 0.0, *, prefix: bool = True) -> list[Chunk]:
    return Structure(words, limit, overlap, prefix).chunk(parse(text.encode(), "guide.md"))


def sentence(word: str, length: int = 10) -> str:
    return " ".join([word.capitalize(), *[word] * (length - 1)]) + "."


def indivisible(document: Document) -> list[tuple[int, int]]:
    """Where fences, rows and sentences lie."""
    spans = []
    for block in document.blocks:
        text = document.text[block.start : block.end]
        if block.kind == "code":
            parts = [(0, len(text))]
        elif block.kind == "table":
            parts = [match.span() for match in re.finditer(r"[^\n]+", text)]
        else:
            parts = sentence_spans(text) if block.kind == "paragraph" else []
        spans += [(block.start + start, block.start + end) for start, end in parts]
    return spans


@settings(max_examples=150, deadline=None)
@given(MARKDOWN, st.sampled_from(sorted(ADDITIVE)), LIMITS, OVERLAPS)
def test_no_fence_row_or_sentence_is_cut_that_fits(text: str, counter: str, limit: int, overlap: float) -> None:
    document = parse(text.encode(), "a.md")
    count = ADDITIVE[counter]
    chunks = Structure(count, limit, overlap, True).chunk(document)
    edges = {edge for chunk in chunks for edge in (chunk.start, chunk.end)}
    for start, end in indivisible(document):
        if count(document.text[start:end]) <= limit // 3:  # the prefix and the headings before it take the rest
            assert not any(start < edge < end for edge in edges)


@settings(max_examples=100, deadline=None)
@given(MARKDOWN, st.integers(60, 400))
@example("leave.\n\n# leave leave leave. \n\n# leave. \n\nleave. leave. leave. leave.", 60)
def test_no_heading_is_left_behind_by_a_block_that_fits_beside_it(text: str, limit: int) -> None:
    document = parse(text.encode(), "a.md")
    wholes = {section.start: document.text[section.start : section.end] for section in document.sections}
    for found in Structure(characters, limit, 0.15, True).chunk(document):
        inside = [block for block in document.blocks if found.start <= block.start < found.end]
        after = [block for block in document.blocks if block.start >= found.end]
        if not (inside and inside[-1].kind == "heading" and after and after[0].kind != "heading"):
            continue
        heading = document.text[inside[-1].start : inside[-1].end]
        together = after[0].end - inside[-1].start
        if found.text.endswith(heading) and together <= limit - limit // 3:  # the prefix takes the rest
            assert wholes[inside[-1].start].strip() == heading


def test_each_section_has_its_own_chunk_with_the_headings_above_in_front() -> None:
    headings = ("# Guide", "## Leave", "### Sick")
    text = "\n\n".join(f"{heading}\n\n{sentence('word', 20)}" for heading in headings)
    assert [(c.prefix, c.text.split("\n")[0]) for c in chunk(text)] == [
        ("", "# Guide"),
        ("Guide\n", "## Leave"),
        ("Guide > Leave\n", "### Sick"),
    ]


def test_a_later_chunk_of_a_section_names_the_section_too() -> None:
    text = "# Guide\n\n## Leave\n\n" + "\n\n".join(sentence(word, 20) for word in ("a", "b", "c", "d"))
    assert [c.prefix for c in chunk(text)] == ["", "Guide > Leave\n"]


def test_the_title_comes_first_when_no_heading_says_it() -> None:
    text = f"---\ntitle: Handbook\n---\n# Leave\n\n{sentence('leave', 20)}"
    assert [c.prefix for c in chunk(text)] == ["Handbook\n"]


def test_a_long_path_loses_its_middle() -> None:
    names = ["one two three", "four five six", "seven eight nine"]
    text = "\n\n".join(f"{'#' * level} {name}" for level, name in enumerate(names, 1)) + "\n\n" + sentence("x", 20) * 3
    assert [c.prefix for c in chunk(text, 24)][-1] == "one two three > seven eight nine\n"


def test_small_sections_share_a_chunk_and_large_ones_do_not() -> None:
    small = "\n\n".join(f"## Word {n}\n\nIt means {n}." for n in range(4))
    large = "\n\n".join(f"## Part {n}\n\n{sentence('large', 20)}" for n in range(2))
    starts = [c.text.split("\n")[0] for c in chunk(f"# Guide\n\n{sentence('intro', 20)}\n\n{large}\n\n{small}")]
    assert starts == ["# Guide", "## Part 0", "## Part 1"]
    assert chunk(f"# Guide\n\n{small}")[0].text.endswith("It means 3.")


def test_a_small_section_is_not_joined_to_another_parents() -> None:
    text = f"# A\n\n{sentence('a', 20)}\n\n## A1\n\nTiny.\n\n# B\n\n## B1\n\nTiny too."
    assert [c.text.split("\n")[0] for c in chunk(text)] == ["# A", "# B"]


def test_a_bare_heading_goes_with_what_follows() -> None:
    text = f"# Guide\n\n## Leave\n\n### Sick\n\n{sentence('sick', 40)}"
    assert [c.text.split("\n")[0] for c in chunk(text)] == ["# Guide"]


def test_headings_alone_share_chunks_and_the_last_goes_with_its_text() -> None:
    made = chunk("\n\n".join(f"## Part {number}" for number in range(60)) + "\n\n" + sentence("text", 20))
    assert len(made) < 12
    assert made[-1].text.startswith("## Part")
    assert made[-1].text.endswith("text.")


def test_a_heading_does_not_end_a_chunk_that_has_room_for_nothing_more() -> None:
    text = f"# Guide\n\n{sentence('intro', 7)}\n\n## Leave\n\n{sentence('leave', 50)}"
    assert [c.text.split("\n")[-1][:5] for c in chunk(text)] == ["Intro", "Leave"]


def test_a_paragraph_that_leaves_no_room_for_its_heading_is_cut() -> None:
    first, second = chunk("# Guide\n\n" + " ".join([sentence("ant", 29), sentence("bee", 30)]))
    assert first.text == "# Guide\n\n" + sentence("ant", 29)
    assert second.text == sentence("bee", 30)


def test_whole_sentences_are_repeated() -> None:
    text = "# Guide\n\n" + " ".join(sentence(word) for word in ("ant", "bee", "cow", "dog", "eel", "fox", "gnu", "hen"))
    first, second, *_ = chunk(text, 50, 0.3)
    assert first.text.endswith(sentence("dog"))
    assert second.text.startswith(sentence("dog") + " " + sentence("eel"))


def test_code_is_not_repeated_in_part() -> None:
    code = "```\n" + "\n".join(f"line {n} of code" for n in range(5)) + "\n```"
    text = f"# Guide\n\n{sentence('a', 20)}\n\n{code}\n\n{sentence('b', 40)}"
    chunks = chunk(text, 60, 0.2)
    assert [c.text.count("line 4 of code") for c in chunks] == [1, 0]


def test_code_that_had_to_be_cut_is_not_repeated() -> None:
    code = "```\n" + "\n".join(f"line {n} of code" for n in range(40)) + "\n```"
    chunks = chunk(f"# Guide\n\n{code}\n\n{sentence('b', 20)}", 30, 0.4)
    text = "\n".join(c.text for c in chunks)
    assert [text.count(f"line {n} of code") for n in range(40)] == [1] * 40


def test_a_table_too_large_is_cut_between_rows() -> None:
    rows = "\n".join(f"| cell {n} | cell {n} |" for n in range(30))
    chunks = chunk(f"# Guide\n\n| a | b |\n| --- | --- |\n{rows}", 60)
    assert len(chunks) > 2
    assert all(c.text.startswith(("|", "#")) and c.text.endswith("|") for c in chunks)


def test_a_list_is_cut_between_its_items() -> None:
    items = "\n".join(f"- {sentence(f'item{n}', 12)}" for n in range(10))
    chunks = chunk(f"# Guide\n\n{items}", 60)
    assert all(c.text.startswith(("- Item", "#")) for c in chunks)


def test_a_section_without_a_heading_in_the_text_is_named() -> None:
    document = Document(
        title="Report",
        media_type="application/pdf",
        text="one two three",
        sections=sections("one two three", [Heading(level=1, title="Summary", start=0)]),
        blocks=(Block(kind="paragraph", start=0, end=13),),
    )
    assert [c.prefix for c in Structure(words, 16, 0, True).chunk(document)] == ["Report > Summary\n"]


def test_pages_are_those_of_the_text() -> None:
    document = Document(
        title="T",
        media_type="application/pdf",
        text="one two\n\nthree four",
        sections=parse(b"one two\n\nthree four", "a.txt").sections,
        blocks=(),
        page_starts=(0, 9),
    )
    assert [c.pages for c in Structure(words, 16, 0, False).chunk(document)] == [(1, 2)]
