from __future__ import annotations

from contracts.chunker import ChunkerContract, words
from ragstone.chunking.base import Chunker
from ragstone.chunking.recursive import Recursive
from ragstone.models import Chunk
from ragstone.parsing.parse import parse
from ragstone.tokens import TokenCounter


class TestRecursive(ChunkerContract):
    @staticmethod
    def make(count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> Chunker:
        return Recursive(count, max_tokens, overlap, prefix)


def chunk(text: str, limit: int, overlap: float = 0.0, name: str = "a.txt") -> list[Chunk]:
    return Recursive(words, limit, overlap, prefix=False).chunk(parse(text.encode(), name))


def test_paragraphs_are_whole_where_they_fit() -> None:
    paragraphs = [f"{word} one. {word} two. {word} three." for word in ("Ant", "Bee", "Cow", "Dog", "Elk")]
    assert [c.text.split("\n\n") for c in chunk("\n\n".join(paragraphs), 16)] == [
        paragraphs[:2],
        paragraphs[2:4],
        paragraphs[4:],
    ]


def test_a_paragraph_too_large_is_cut_into_sentences_and_a_sentence_too_large_into_words() -> None:
    long = " ".join(f"w{n}" for n in range(25))
    found = [c.text for c in chunk(f"Ant ant ant. Bee bee bee bee bee bee. Cow cow.\n\n{long}", 10)]
    assert found[:2] == ["Ant ant ant. Bee bee bee bee bee bee.", "Cow cow."]
    assert " ".join(found[2:]) == long
    assert [len(text.split()) for text in found[2:]] == [10, 10, 5]


def test_sections_do_not_part_paragraphs_but_a_heading_stays_with_its_text() -> None:
    text = "# One\n\nAnt ant.\n\n# Two\n\nBee bee bee bee."
    assert [c.text for c in chunk(text, 20, name="a.md")] == [text]
    assert [c.text for c in chunk(text, 8, name="a.md")] == ["# One\n\nAnt ant.", "# Two\n\nBee bee bee bee."]
