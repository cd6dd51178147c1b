"""What every chunking strategy keeps to, on random documents and with counters of every temper."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from ragstone.chunking.base import Chunker
from ragstone.models import Block, BlockKind, Chunk, Document
from ragstone.parsing.outline import Heading, sections
from ragstone.parsing.parse import parse
from ragstone.tokens import TokenCounter


def small_wordpiece() -> TokenCounter:
    """A WordPiece tokenizer as BERT's is, with letters and a few words for a vocabulary."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    entries = ["[UNK]", *letters, *("##" + letter for letter in letters), *".,!?#|-`*", "the", "lea", "##ve", "##s"]
    tokenizer = Tokenizer(WordPiece({entry: i for i, entry in enumerate(entries)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def words(text: str) -> int:
    return len(text.split())


def characters(text: str) -> int:
    return len(text)


def more_than_its_parts(text: str) -> int:
    """No tokenizer counts like this: the whole is more than the sum of its words."""
    return int(len(text) ** 1.15)


ADDITIVE: dict[str, TokenCounter] = {"words": words, "characters": characters, "wordpiece": small_wordpiece()}
COUNTERS = ADDITIVE | {"more than its parts": more_than_its_parts}

WORD = st.sampled_from(
    [
        "leave",
        "the",
        "days",
        "a",
        "It",
        "Über",
        "naïve",
        "x86-64",
        "3.50",
        "日本語",
        "안녕하세요",
        "👩‍👩‍👧",
        "e\u0301e\u0301",
        "w" * 70,
    ]
)
SENTENCE = st.lists(WORD, min_size=1, max_size=14).map(lambda chosen: " ".join(chosen) + ". ")
PARAGRAPH = st.lists(SENTENCE, min_size=1, max_size=6).map(lambda sentences: "".join(sentences).strip())
HEADING = st.builds(lambda level, title: f"{'#' * level} {title}", st.integers(1, 4), SENTENCE)
BULLETS = st.lists(SENTENCE, min_size=1, max_size=6).map(lambda items: "\n".join(f"- {item}" for item in items))
CODE_LINE = st.sampled_from(["# no heading", "if x:", "    return the(x)", "", "~", "| no | row |"])
FENCE = st.lists(CODE_LINE, max_size=8).map(lambda lines: "\n".join(["```python", *lines, "```"]))
ROW = st.lists(WORD, min_size=2, max_size=2).map(lambda cells: f"| {cells[0]} | {cells[1]} |")
TABLE = st.lists(ROW, min_size=1, max_size=6).map(lambda rows: "\n".join([rows[0], "| --- | --- |", *rows[1:]]))
MARKDOWN = st.lists(PARAGRAPH | HEADING | BULLETS | FENCE | TABLE, min_size=1, max_size=14).map("\n\n".join)


@st.composite
def any_documents(draw: st.DrawFn) -> Document:
    """Text with sections and blocks anywhere in it, in the middle of words too."""
    text = draw(
        st.text(st.sampled_from("ab. \n\t日😀\u0301é,") | st.characters(codec="utf-8"), min_size=1, max_size=300)
    )
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    kinds: st.SearchStrategy[BlockKind] = st.sampled_from(["heading", "paragraph", "list", "code", "table"])
    blocks = [
        Block(kind=draw(kinds), start=start, end=end) for start, end in zip(places[::2], places[1::2], strict=False)
    ]
    headings = [
        Heading(
            level=draw(st.integers(1, 3)), title=draw(st.sampled_from(["", "A", "A long title"])), start=block.start
        )
        for block in blocks
        if block.kind == "heading"
    ]
    pages = (0, *sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))) if draw(st.booleans()) else ()
    return Document(
        title=draw(st.sampled_from(["", "A", "Title"])),
        media_type="text/plain",
        text=text,
        sections=sections(text, headings),
        blocks=tuple(blocks),
        page_starts=pages,
    )


DOCUMENTS = MARKDOWN.map(lambda text: parse(text.encode(), "random.md")) | any_documents()
LIMITS = st.integers(16, 90)
PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.differing_executors])  # one for each strategy
OVERLAPS = st.sampled_from([0.0, 0.15, 0.49])


class ChunkerContract:
    """Subclasses say how their chunker is made."""

    @staticmethod
    def make(count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> Chunker:
        raise NotImplementedError

    @settings(PROPERTY, max_examples=100)
    @given(DOCUMENTS, st.sampled_from(sorted(COUNTERS)), LIMITS, OVERLAPS, st.booleans())
    def test_chunks_are_exact_ordered_within_the_limit_and_cover_the_text(
        self, document: Document, counter: str, limit: int, overlap: float, prefix: bool
    ) -> None:
        chunks = self.make(COUNTERS[counter], limit, overlap, prefix).chunk(document)
        assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
        assert all(a.start < b.start and a.end < b.end for a, b in pairwise(chunks))
        for chunk in chunks:
            assert chunk.text == document.text[chunk.start : chunk.end]
            assert chunk.text == chunk.text.strip() != ""
            assert chunk.tokens == COUNTERS[counter](chunk.prefix + chunk.text) <= limit
            assert prefix or not chunk.prefix
        assert not uncovered(document, chunks)

    @settings(PROPERTY, max_examples=60)
    @given(DOCUMENTS, st.sampled_from(sorted(COUNTERS)), LIMITS, OVERLAPS)
    def test_the_same_document_gives_the_same_chunks(
        self, document: Document, counter: str, limit: int, overlap: float
    ) -> None:
        chunker = self.make(COUNTERS[counter], limit, overlap, True)
        chunks = chunker.chunk(document)
        assert chunker.chunk(document) == chunks
        assert self.make(COUNTERS[counter], limit, overlap, True).chunk(document) == chunks

    @settings(PROPERTY, max_examples=60)
    @given(DOCUMENTS, st.sampled_from(sorted(ADDITIVE)), LIMITS, OVERLAPS)
    def test_neighbours_share_no_more_than_the_overlap(
        self, document: Document, counter: str, limit: int, overlap: float
    ) -> None:
        chunks = self.make(ADDITIVE[counter], limit, overlap, True).chunk(document)
        for before, after in pairwise(chunks):
            assert ADDITIVE[counter](document.text[after.start : before.end]) <= overlap * limit

    @settings(PROPERTY, max_examples=40)
    @given(st.integers(30, 90), st.sampled_from([0.15, 0.3, 0.49]), st.booleans())
    def test_an_overlap_that_there_is_room_for_is_there(self, limit: int, overlap: float, prefix: bool) -> None:
        document = parse(" ".join(f"W{n} w{n}." for n in range(400)).encode(), "a.txt")
        chunks = self.make(words, limit, overlap, prefix).chunk(document)
        assert len(chunks) > 3
        for before, after in pairwise(chunks):
            assert words(document.text[after.start : before.end]) >= min(overlap * limit, words(before.text)) - 3

    @settings(PROPERTY, max_examples=40)
    @given(DOCUMENTS, LIMITS, st.sampled_from(sorted(ADDITIVE)))
    def test_without_an_overlap_nothing_comes_twice(self, document: Document, limit: int, counter: str) -> None:
        chunks = self.make(ADDITIVE[counter], limit, 0.0, True).chunk(document)
        assert all(before.end <= after.start for before, after in pairwise(chunks))

    @settings(PROPERTY, max_examples=60)
    @given(DOCUMENTS, st.sampled_from(sorted(COUNTERS)), st.integers(1, 8), OVERLAPS)
    def test_an_absurd_limit_still_ends_and_covers_the_text(
        self, document: Document, counter: str, limit: int, overlap: float
    ) -> None:
        chunks = self.make(COUNTERS[counter], limit, overlap, True).chunk(document)
        assert not uncovered(document, chunks)
        assert all(chunk.tokens <= limit or len(chunk.text) == 1 for chunk in chunks)

    @settings(PROPERTY, max_examples=60)
    @given(DOCUMENTS, LIMITS)
    def test_a_chunk_knows_its_innermost_section_and_its_pages(self, document: Document, limit: int) -> None:
        for chunk in self.make(words, limit, 0.15, True).chunk(document):
            holding = [section for section in document.sections if section.start <= chunk.start < section.end]
            assert not holding or chunk.section == max(holding, key=lambda section: section.level).ordinal
            pages = [sum(start <= at for start in document.page_starts) for at in (chunk.start, chunk.end - 1)]
            assert chunk.pages == (tuple(pages) if document.page_starts else None)

    def test_a_long_text_of_one_word_is_cut(self) -> None:
        document = parse(("x" * 5000).encode(), "long.txt")
        chunks = self.make(small_wordpiece(), 40, 0.1, True).chunk(document)
        assert len(chunks) > 50
        assert not uncovered(document, chunks)


def uncovered(document: Document, chunks: list[Chunk]) -> str:
    """The non-blank text that is in no chunk."""
    left = list(document.text)
    for chunk in chunks:
        left[chunk.start : chunk.end] = " " * (chunk.end - chunk.start)
    return "".join(left).strip()
