from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.chunker import ADDITIVE, LIMITS, MARKDOWN, OVERLAPS, ChunkerContract, words
from ragstone.chunking.base import Chunker
from ragstone.chunking.sentence import Sentence
from ragstone.chunking.sentences import sentence_spans
from ragstone.models import Chunk
from ragstone.parsing.parse import parse
from ragstone.tokens import TokenCounter


class TestSentence(ChunkerContract):
    @staticmethod
    def make(count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> Chunker:
        return Sentence(count, max_tokens, overlap, prefix)


def chunk(text: str, limit: int, overlap: float = 0.0, name: str = "a.txt") -> list[Chunk]:
    return Sentence(words, limit, overlap, prefix=False).chunk(parse(text.encode(), name))


@settings(max_examples=100, deadline=None)
@given(MARKDOWN, st.sampled_from(sorted(ADDITIVE)), LIMITS, OVERLAPS)
def test_no_sentence_is_cut_that_fits(text: str, counter: str, limit: int, overlap: float) -> None:
    document = parse(text.encode(), "a.md")
    count = ADDITIVE[counter]
    chunks = Sentence(count, limit, overlap, True).chunk(document)
    edges = {edge for chunk in chunks for edge in (chunk.start, chunk.end)}
    for block in (block for block in document.blocks if block.kind == "paragraph"):
        for start, end in sentence_spans(document.text[block.start : block.end]):
            if count(document.text[block.start + start : block.start + end]) <= limit // 3:
                assert not any(block.start + start < edge < block.start + end for edge in edges)


def test_as_many_sentences_as_fit_share_a_chunk_across_paragraphs_and_sections() -> None:
    text = "# One\n\nAnt ant. Bee bee.\n\nCow cow.\n\n# Two\n\nDog dog. Elk elk."
    assert [c.text for c in chunk(text, 12, name="a.md")] == [
        "# One\n\nAnt ant. Bee bee.\n\nCow cow.\n\n# Two\n\nDog dog.",
        "Elk elk.",
    ]


def test_whole_sentences_are_repeated_as_far_as_the_overlap_goes() -> None:
    text = " ".join(f"{word} {word} {word} {word}." for word in ("A1", "B2", "C3", "D4", "E5", "F6", "G7"))
    first, second, *_ = chunk(text, 16, 0.4)
    assert first.text.endswith("D4 D4 D4 D4.")
    assert second.text.startswith("D4 D4 D4 D4. E5")


@pytest.mark.parametrize(
    "sentences",
    [
        ("Dr. Smith paid $3.50 for it.", "Then he left (see Fig. 2)."),
        ("これは最初の文です。", "二番目の文はここです！"),
        ("यह एक वाक्य है।", "यह दूसरा वाक्य है।"),
        ("هل هذا سؤال؟", "هذه جملة أخرى."),
        ("¿Dónde está la casa?", "¡Allí está!"),
    ],
)
def test_sentences_of_many_languages_are_told_apart(sentences: tuple[str, str]) -> None:
    limit = max(len(sentence) for sentence in sentences) + 3
    chunks = Sentence(len, limit, 0, prefix=False).chunk(parse(" ".join(sentences).encode(), "a.txt"))
    assert tuple(c.text for c in chunks) == sentences


def test_a_document_that_names_its_language_is_cut_by_that_languages_rules() -> None:
    page = "<html lang='{}'><body><main><p>Das ist hier gesagt. Am 3. Mai kam er nach Hause zu uns.</p></main></html>"
    ends = {lang: [c.text[-5:] for c in chunk(page.format(lang), 9, name="a.html")] for lang in ("de", "en")}
    assert ends == {"de": ["sagt.", " uns."], "en": ["Am 3.", " uns."]}


def test_list_items_are_sentences() -> None:
    text = "- Ant ant ant\n- Bee bee bee\n- Cow cow cow. Dog dog dog."
    assert [c.text for c in chunk(text, 8, name="a.md")] == [
        "- Ant ant ant\n- Bee bee bee",
        "- Cow cow cow. Dog dog dog.",
    ]
    assert [c.text for c in chunk(text, 12, name="a.md")] == [
        "- Ant ant ant\n- Bee bee bee\n- Cow cow cow.",
        "Dog dog dog.",
    ]
