from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.chunker import ADDITIVE, DOCUMENTS, LIMITS, MARKDOWN, ChunkerContract, words
from ragstone.chunking.base import Chunker
from ragstone.chunking.fixed import Fixed
from ragstone.chunking.parents import WithParents
from ragstone.chunking.structure import Structure
from ragstone.models import Document
from ragstone.parsing.parse import parse
from ragstone.tokens import TokenCounter

KINDS = st.sampled_from(["section", "window"])


class TestWithParents(ChunkerContract):
    @staticmethod
    def make(count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> Chunker:
        return WithParents(Structure(count, max_tokens, overlap, prefix), "section", count, 2 * max_tokens)


def parents(text: str, kind: Literal["section", "window"], limit: int, chunk: int = 8) -> list[tuple[str, str]]:
    """Each chunk with its parent."""
    document = parse(text.encode(), "a.md")
    chunks = WithParents(Structure(words, chunk, 0, False), kind, words, limit).chunk(document)
    spans = [(chunk.text, chunk.parent) for chunk in chunks]
    return [(text, document.text[parent[0] : parent[1]].strip()) for text, parent in spans if parent]


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, st.sampled_from(sorted(ADDITIVE)), LIMITS, KINDS, st.sampled_from([0.5, 1, 3, 20]), st.booleans())
def test_a_parent_holds_its_chunk_and_is_no_larger_than_it_may_be(
    document: Document, counter: str, limit: int, kind: Literal["section", "window"], times: float, fixed: bool
) -> None:
    count, room = ADDITIVE[counter], int(times * limit)
    strategy = Fixed(count, limit, 0.15, True) if fixed else Structure(count, limit, 0.15, True)
    chunks = WithParents(strategy, kind, count, room).chunk(document)
    assert [(c.start, c.end, c.text) for c in chunks] == [(c.start, c.end, c.text) for c in strategy.chunk(document)]
    for chunk in chunks:
        assert chunk.parent is not None
        start, end = chunk.parent
        assert 0 <= start <= chunk.start < chunk.end <= end <= len(document.text)
        parent = document.text[start:end].strip()
        assert count(parent) <= room or parent.strip() in chunk.text or chunk.text in parent
        assert count(parent) <= max(room, count(chunk.text) + 2 * limit)


@settings(max_examples=100, deadline=None)
@given(MARKDOWN, st.integers(60, 400))
def test_a_section_that_fits_is_a_parent_or_in_one(text: str, limit: int) -> None:
    document = parse(text.encode(), "a.md")
    for chunk in WithParents(Structure(len, limit, 0.15, True), "section", len, 2 * limit).chunk(document):
        assert chunk.parent is not None
        for section in document.sections:
            holds = section.start <= chunk.start and chunk.end <= section.end
            if holds and section.end - section.start <= 2 * limit:
                assert chunk.parent[0] <= section.start
                assert section.end <= chunk.parent[1]


LEAVE = "## Leave\n\nOne one one one. Two two two two. Three three three three."
SICK = "## Sick\n\nFour four four four four."
GUIDE = f"# Guide\n\nIntro intro intro intro intro.\n\n{LEAVE}\n\n{SICK}"


def test_the_largest_section_that_fits_is_the_parent() -> None:
    found = [parent for _, parent in parents(GUIDE, "section", 16)]
    assert found == [GUIDE.removesuffix(SICK).strip().partition(" Two")[0], LEAVE, LEAVE, SICK]
    assert {parent for _, parent in parents(GUIDE, "section", 40)} == {GUIDE}


def test_a_section_too_large_gives_a_window_of_whole_sentences_within_it() -> None:
    found = dict(parents(LEAVE, "section", 10, chunk=6))
    assert found["Three three three three."] == "Two two two two. Three three three three."
    assert found["Two two two two."] == "Two two two two. Three three three three."


def test_a_window_takes_whole_sentences_and_blocks_of_either_side() -> None:
    text = " ".join(f"{word} {word}." for word in ("A1", "B2", "C3", "D4", "E5", "F6", "G7"))
    found = dict(parents(text, "window", 10, chunk=2))
    assert found["D4 D4."] == "B2 B2. C3 C3. D4 D4. E5 E5. F6 F6."
    assert found["A1 A1."] == "A1 A1. B2 B2. C3 C3. D4 D4. E5 E5."
    assert found["G7 G7."] == "C3 C3. D4 D4. E5 E5. F6 F6. G7 G7."


def test_a_window_does_not_end_with_a_heading() -> None:
    text = "Ant ant ant ant.\n\n# Heading\n\nBee bee bee bee.\n\nCow cow cow cow."
    assert dict(parents(text, "window", 8, chunk=4))["Ant ant ant ant."] == "Ant ant ant ant."


@pytest.mark.parametrize("kind", ["section", "window"])
def test_parents_that_follow_each_other_touch(kind: Literal["section", "window"]) -> None:
    document = parse("\n\n".join(f"## H{n}\n\n{'word ' * 20}." for n in range(6)).encode(), "a.md")
    chunks = WithParents(Structure(words, 25, 0, True), kind, words, 25).chunk(document)
    spans = [chunk.parent for chunk in chunks if chunk.parent]
    assert len(spans) == 6
    assert all(before[1] == after[0] for before, after in pairwise(spans))
