from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsing.office_files import blocks
from ragstone.parsing.parse import parse


def read(text: str) -> list[tuple[str, str]]:
    return blocks(parse(text.encode(), "a.csv"))


def test_each_row_can_be_understood_alone() -> None:
    assert read("name,city\nAnna,Berlin\nBob,\n\n,Köln\n") == [
        ("table", "name: Anna; city: Berlin\nname: Bob\ncity: Köln")
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_detected(delimiter: str) -> None:
    rows = [["name", "pay"], ["Smith, Anna", "1,5"], ["Lee; Bob", "2,5"]]
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter).writerows(rows)
    assert read(written.getvalue()) == [("table", "name: Smith, Anna; pay: 1,5\nname: Lee; Bob; pay: 2,5")]


def test_a_long_value_is_a_paragraph_of_its_record() -> None:
    story = "word " * 200
    assert read(f'id,story\n1,short\n2,"{story}\nend"\n3,short\n') == [
        ("table", "id: 1; story: short"),
        ("paragraph", f"id: 2\nstory: {story}\nend"),
        ("table", "id: 3; story: short"),
    ]


@pytest.mark.parametrize("text", ["1,2\n3,4", "a,a\nb,c", "2024,2025\n1,2"])
def test_a_first_row_that_holds_no_names_is_a_row(text: str) -> None:
    assert read(text) == [("table", text.replace(",", " | "))]


def test_more_cells_than_names_are_kept() -> None:
    assert read("a,b\nc,d,e") == [("table", "a: c; b: d; e")]


def test_what_is_no_table_stays_text() -> None:
    assert read("only\none\ncolumn") == [("paragraph", "only"), ("paragraph", "one"), ("paragraph", "column")]
    assert read("a,b\n" + "x" * 200_000)[0][0] == "table"


CELLS = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=8)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=8))
def test_no_value_is_lost(rows: list[list[str]]) -> None:
    written = io.StringIO()
    csv.writer(written).writerows([["one", "two", "three"], *rows])
    assert read(written.getvalue()) == [("table", "\n".join(f"one: {a}; two: {b}; three: {c}" for a, b, c in rows))]
