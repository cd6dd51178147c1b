from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from contracts.generator import passage
from ragstone.chunking.statements import statements

MARKDOWN = """\
# Leave

Parental leave is sixteen weeks. It may be
taken in two parts.

Notice
------
1. Tell your lead. Then tell
   the office.
- An **item**
> Quoted text.

| Role | Notice |
|:-----|-------:|
| Lead | 3 months |

```sh
cargo build

cargo test
```
Travel
Keep receipts.
***
"""


def texts(text: str, *path: str) -> list[str]:
    return [statement.text for statement in statements(passage(1, text, *path))]


def test_sentences_items_rows_and_lines_of_code_without_their_markers() -> None:
    assert texts(MARKDOWN, "Handbook", "Travel") == [
        "Parental leave is sixteen weeks.",
        "It may be\ntaken in two parts.",
        "Tell your lead.",
        "Then tell\n   the office.",
        "An **item**",
        "Quoted text.",
        "Lead | 3 months",
        "cargo build",
        "cargo test",
        "Keep receipts.",
    ]


def test_a_statement_knows_what_was_said_before_under_the_same_heading() -> None:
    before = {s.text: s.before for s in statements(passage(1, MARKDOWN, "Travel"))}
    assert before["It may be\ntaken in two parts."] == "Parental leave is sixteen weeks."
    assert before["Tell your lead."] == ""
    assert before["Lead | 3 months"] == "Quoted text."
    assert before["Keep receipts."] == ""


def test_rows_need_no_outer_pipes() -> None:
    assert texts("high | 37.28 | 19.35\nlow | 12.10 | 9.80") == ["high | 37.28 | 19.35", "low | 12.10 | 9.80"]


def test_what_has_no_end_comes_in_parts() -> None:
    parts = texts("word " * 400 + "x" * 1500)
    assert " ".join(parts[:-3]) == ("word " * 400).strip()
    assert "".join(parts[-3:]) == "x" * 1500
    assert all(len(part) <= 600 for part in parts)


LINES = st.lists(
    st.sampled_from(
        ["# H", "---", "| a | b |", "|--|--|", "- item one. two", "```", "Text. More", " code()", "", "1) x"]
    )
    | st.text(st.characters(codec="utf-8"), max_size=20),
    max_size=15,
)


@given(LINES, st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_statements_are_ordered_disjoint_spans_of_the_text(lines: list[str], separator: str) -> None:
    text = separator.join(lines)
    end = 0
    for statement in statements(replace(passage(1, text), path=("Text. More",))):
        assert end <= statement.start < statement.end <= len(text)
        assert statement.text == statement.text.strip()
        end = statement.end
