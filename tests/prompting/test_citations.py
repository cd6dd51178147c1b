from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.models import Passage
from ragstone.prompting.citations import CitationEvent, CitationScanner, Cited, Text, Unknown


def passage(number: int, text: str) -> Passage:
    return Passage(
        number=number, document_id=UUID(int=1), version_id=UUID(int=2), chunk_ids=(UUID(int=number),), uri="file:///a",
        title="A", path=(), pages=None, start=0, end=len(text), text=text, modified_at=None, cosine=None, bm25=None,
        score=1.0,
    )  # fmt: skip


SOURCES = (passage(1, "Fire drills are held twice a year.[12] Ask Ada."), passage(2, "She said “now” and left."),
           passage(3, "Press ` twice. He said “yes” to it [2] then."))  # fmt: skip


def scan(pieces: Iterable[str]) -> list[CitationEvent]:
    scanner = CitationScanner(SOURCES)
    return [event for piece in pieces for event in scanner.feed(piece)] + scanner.finish()


def shown(events: Iterable[CitationEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def cited(events: Iterable[CitationEvent]) -> list[int]:
    return [event.citation.number for event in events if isinstance(event, Cited)]


def unknown(events: Iterable[CitationEvent]) -> list[int]:
    return [event.number for event in events if isinstance(event, Unknown)]


def account(events: Iterable[CitationEvent]) -> list[tuple[int, Cited | Unknown]]:
    """Every finding with the place in the shown text where it was made."""
    place = 0
    found: list[tuple[int, Cited | Unknown]] = []
    for event in events:
        if isinstance(event, Text):
            place += len(event.text)
        else:
            found.append((place, event))
    return found


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("Twice a year [1].", [1]),
        ("Twice a year[1], so [2].", [1, 2]),
        ("Both say it [1, 2].", [1, 2]),
        ("Both say it [1][2].", [1, 2]),
        ("It costs 3.50[1] for the company's[2].", [1, 2]),
        ("[2] says so", [2]),
    ],
)
def test_citations_are_found_and_stay(answer: str, numbers: list[int]) -> None:
    events = scan(answer)
    assert (shown(events), cited(events), unknown(events)) == (answer, numbers, [])


@pytest.mark.parametrize(
    ("answer", "text", "numbers"),
    [
        ("Twice a year [9].", "Twice a year.", [9]),
        ("Twice a year[9] or so.", "Twice a year or so.", [9]),
        ("Both [1, 9, 2].", "Both [1, 2].", [9]),
        ("Both [9][2] say", "Both [2] say", [9]),
        ("None [7, 8][9]", "None", [7, 8, 9]),
        ("Not even [0].", "Not even.", [0]),
    ],
)
def test_a_number_without_a_source_is_taken_out_and_told(answer: str, text: str, numbers: list[int]) -> None:
    events = scan(answer)
    assert (shown(events), unknown(events)) == (text, numbers)


@pytest.mark.parametrize(
    "answer",
    [
        "the first is a[0], the next `xs[9]`",
        "row_ids[9] and self.rows[9] and $argv[9]",
        "word[0]",
        "see [1](https://example.com) and ![9](x.png)",
        "```python\nxs = [1, 9]\n\nys [9]\n```\n",
        "in [1990], [x], [ ], [^1], [1-9]",
        "an open [1, 9",
    ],
)
def test_what_is_no_citation_passes_untouched(answer: str) -> None:
    events = scan(answer)
    assert (shown(events), account(events)) == (answer, [])


def test_code_on_one_line_ends_with_its_line() -> None:
    assert cited(scan("a stray ` [1]\nthen [2]")) == [2]


def test_a_marker_inside_a_quotation_of_the_source_is_the_sources_own() -> None:
    answer = "“Fire drills are held twice a year.[12] Ask Ada.” [1]"
    events = scan(answer)
    assert (shown(events), cited(events), unknown(events)) == (answer, [1], [])
    assert cited(scan("“He said “yes” to it [2] then.” [3]")) == [3]
    assert unknown(scan("“Not in the source.[12]” [1]")) == [12]


def test_a_citation_carries_the_quotation_before_it() -> None:
    quotes = [event.citation.quote for event in scan("“Ask Ada.” [1]\n“She said “now” and left.” [2]\nYes [1].")
              if isinstance(event, Cited)]  # fmt: skip
    assert quotes == ["Ask Ada.", "She said “now” and left.", None]
    assert [e.citation.quote for e in scan("“Ask Bob.” [1]") if isinstance(e, Cited)] == [None]


def test_a_stray_backtick_in_a_quotation_does_not_hide_its_citation() -> None:
    assert cited(scan("- “Press ` twice.” [3]\n- “Ask Ada.” [1]")) == [3, 1]


def test_text_is_held_back_only_while_it_may_be_a_marker() -> None:
    scanner = CitationScanner(SOURCES)
    assert scanner.feed("Yes [") == [Text("Yes")]
    assert scanner.feed("1") == []
    assert scanner.feed("x") == [Text(" [1x")]
    assert scanner.feed(" [" + "1," * 30) == [Text(" [" + "1," * 30)]


PARTS = (
    *("[1]", "[2]", "[9]", "[3]", "[1, 9]", "[1;2]", "[0]", "[12]", "[" + " " * 39 + "1]", "[", "]", "(", "1", ","),
    *("`", "```", "\n", " ", "word", "a", "x_y", ".b", "é", "“", "”"),
    *("Ask Ada.", "Fire drills are held twice a year.", "“Press ` twice.”", "He said “yes” to it [2] then."),
)
ANSWERS = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)


@given(ANSWERS, st.lists(st.integers(min_value=1, max_value=5), max_size=60))
def test_how_the_text_is_cut_into_pieces_changes_nothing(answer: str, lengths: list[int]) -> None:
    pieces, rest = [], answer
    for length in lengths:
        pieces.append(rest[:length])
        rest = rest[length:]
    whole, cut = scan([answer]), scan([*pieces, rest])
    assert shown(cut) == shown(whole)
    assert account(cut) == account(whole)


@given(ANSWERS)
def test_nothing_but_unknown_markers_is_taken_out(answer: str) -> None:
    events = scan(answer)
    if not unknown(events):
        assert shown(events) == answer
    kept = iter(answer)
    assert all(character in kept for character in shown(events).replace(" ", ""))
