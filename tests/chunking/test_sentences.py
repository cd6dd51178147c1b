from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragstone.chunking.sentences import sentence_spans


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


def test_abbreviations_numbers_and_quotes_do_not_end_a_sentence() -> None:
    text = "Dr. Smith paid $3.50. He said “Go. Now.” Then he left (see Fig. 2)."
    assert sentences(text) == ["Dr. Smith paid $3.50.", "He said “Go. Now.”", "Then he left (see Fig. 2)."]


def test_a_blank_line_ends_a_sentence() -> None:
    assert sentences("A heading\n\nA wrapped\nline.") == ["A heading", "A wrapped\nline."]


def test_offsets_count_characters_not_bytes() -> None:
    assert sentences("😀 Hé là. 𝒳 is next.") == ["😀 Hé là.", "𝒳 is next."]


def test_blanks_that_are_not_ascii_are_blanks() -> None:
    assert sentences("J.\u00a0Smith came.\u3000B\u3000.\u2009Then A\u2004\u205f. left.")[0] == "J.\u00a0Smith came."


@given(st.text(st.sampled_from('ab.!? \n\r\t(“”")😀é。AJ1\u00a0\u3000') | st.characters(codec="utf-8")))
def test_only_blanks_lie_between_sentences(text: str) -> None:
    end = 0
    for start, stop in sentence_spans(text):
        assert end <= start < stop <= len(text)
        assert not text[end:start].strip()
        assert text[start:stop] == text[start:stop].strip()
        end = stop
    assert not text[end:].strip()


def test_backticks_mark_code_and_open_no_quotation() -> None:
    text = "Call `run` first. It reads `main`. Then the thread 'worker' starts. `stop` ends it."
    assert [text[start:end] for start, end in sentence_spans(text)] == [
        "Call `run` first.",
        "It reads `main`.",
        "Then the thread 'worker' starts.",
        "`stop` ends it.",
    ]
