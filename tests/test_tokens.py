from __future__ import annotations

import string
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ragstone
from ragstone.embedding.choosing import origin_of
from ragstone.embedding.encoder import load_tokenizer
from ragstone.embedding.files import cache_folder, pull
from ragstone.tokens import TokenCounter, byte_pairs, overestimate

with warnings.catch_warnings():  # it opens its tables in a way that Python means to drop
    warnings.simplefilter("ignore", DeprecationWarning)
    from bpe_openai._bindings import supported_encodings, tokenizer_for_encoding

WORDS = (Path(ragstone.__path__[0]) / "words.txt").read_text().split()
FORMS = [form for word in WORDS for form in (word, word.capitalize())]

# Text that is hard on the bound: common words, glued together and to everything that a tokenizer treats apart.
PIECES = st.one_of(
    st.sampled_from(FORMS),
    st.sampled_from(FORMS).map(str.upper),
    st.text(string.ascii_letters, max_size=9),
    st.text(max_size=4),
    st.sampled_from(
        [*string.punctuation, *string.whitespace, "’", "'s", "\u0301", "\u200b", "\xad", "\x1c", "한", "İ", "1"]
    ),
)
TEXTS = st.lists(PIECES | PIECES.map(lambda piece: f" {piece}"), max_size=12).map("".join)


def word_piece() -> TokenCounter:
    tokenizer = load_tokenizer(pull(origin_of("all-MiniLM-L6-v2"), cache_folder(None)))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.fixture(scope="module", params=[*supported_encodings(), "WordPiece"])
def count(request: pytest.FixtureRequest) -> TokenCounter:
    if request.param == "WordPiece":
        return word_piece()
    counter: TokenCounter = tokenizer_for_encoding(request.param).count
    return counter


@given(text=TEXTS)
@settings(max_examples=400, deadline=None)
@example(text="zqxj vvkw QZXJ")
@example(text=" the\u0301 in\x1cthe don't (the) the\u200bof theOf")
def test_no_tokenizer_makes_more(count: TokenCounter, text: str) -> None:
    assert count(text) <= overestimate(text)


def test_no_single_character_is_worth_more(count: TokenCounter) -> None:
    characters = (chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    assert [c for c in characters if c.isprintable() and count(c) > overestimate(c)] == []


def test_every_listed_word_is_one_token(count: TokenCounter) -> None:
    assert [form for form in FORMS if count(f" {form}") != 1] == []


def test_english_is_overestimated_by_less_than_three() -> None:
    text = (
        "The company pays for the time that people spend on training, if their manager has agreed to it before. "
        "Travel by train is always paid; a flight needs a reason. Keep the receipts, and send them within a month."
    )
    assert byte_pairs("o200k_base")(text) <= overestimate(text) < 3 * byte_pairs("o200k_base")(text)


def test_lone_surrogates_and_very_long_texts_are_counted() -> None:
    assert overestimate("\ud83d") == 3
    assert byte_pairs("cl100k_base")("word " * 300_000) >= 300_000
