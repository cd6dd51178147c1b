"""BM25 weights against the formula, and which forms of a word are one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.index import lexical


@given(st.lists(st.sampled_from(["fox", "owl", "newt"]), min_size=1, max_size=300))
def test_a_weight_is_the_formulas(words: list[str]) -> None:
    weights = lexical.document(" ".join(words))
    found = dict(zip(weights.indices, weights.values, strict=True))
    for word in set(words):
        (index,) = lexical.query(word).indices
        frequency = words.count(word)
        norm = lexical.K * (1 - lexical.B + lexical.B * len(words) / lexical.AVERAGE_LENGTH)
        assert found[index] == pytest.approx(frequency * (lexical.K + 1) / (frequency + norm), rel=1e-5)
    assert len(found) == len(set(words))


@given(st.text())
def test_any_text_can_be_asked_and_stored(text: str) -> None:
    asked, stored = lexical.query(text), lexical.document(text)
    assert sorted(asked.indices) == sorted(stored.indices)
    assert set(asked.values) <= {1.0}


@pytest.mark.parametrize(
    ("one", "other"),
    [("connection", "connected"), ("Running", "runs"), ("café", "cafe"), ("policies", "policy"), ("naïve", "NAIVE")],
)
def test_forms_of_a_word_meet(one: str, other: str) -> None:
    assert lexical.query(one).indices == lexical.query(other).indices


def test_different_words_do_not() -> None:
    words = ["fox", "owl", "x86", "日本", "müßig", "3.14", "lynx"]
    assert len({index for word in words for index in lexical.query(word).indices}) >= len(words)


@given(st.integers(1, 10**6), st.data())
def test_rarer_words_say_more(total: int, data: st.DataObject) -> None:
    containing = data.draw(st.integers(0, total - 1))
    assert lexical.idf(total, containing) > lexical.idf(total, containing + 1) > 0
