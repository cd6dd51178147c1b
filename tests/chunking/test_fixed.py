from __future__ import annotations

from itertools import pairwise

from contracts.chunker import ChunkerContract, more_than_its_parts, uncovered, words
from ragstone.chunking.base import Chunker
from ragstone.chunking.fixed import Fixed
from ragstone.parsing.parse import parse
from ragstone.tokens import TokenCounter


class TestFixed(ChunkerContract):
    @staticmethod
    def make(count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> Chunker:
        return Fixed(count, max_tokens, overlap, prefix)


def test_windows_are_full_and_repeat_the_overlap() -> None:
    text = " ".join(f"w{number}" for number in range(100))
    chunks = Fixed(words, 20, 0.25, prefix=False).chunk(parse(text.encode(), "a.txt"))
    assert [chunk.tokens for chunk in chunks] == [20] * 6 + [10]
    assert [chunk.text.split()[0] for chunk in chunks] == ["w0", "w15", "w30", "w45", "w60", "w75", "w90"]


def test_a_window_is_named_after_the_section_it_starts_in() -> None:
    text = "# One\n\n" + "a " * 30 + "\n\n# Two\n\n" + "b " * 30
    chunks = Fixed(words, 30, 0, prefix=True).chunk(parse(text.encode(), "a.md"))
    assert [chunk.prefix for chunk in chunks] == ["", "One\n", "One > Two\n"]


def test_an_overlap_that_leaves_no_room_for_anything_new_is_given_up() -> None:
    document = parse(b"```python\n```\n\n```python\n```", "a.md")
    chunks = Fixed(more_than_its_parts, 16, 0.49, prefix=False).chunk(document)
    assert all(before.end < after.end for before, after in pairwise(chunks))
    assert not uncovered(document, chunks)
