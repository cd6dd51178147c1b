"""What stands where on a page: columns, tables, lists, code, headings and running lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.models import Document
from ragstone.parsing.parse import parse

LEFT = [f"The left column says in its line {number} what" for number in "abcdefgh"]
RIGHT = [f"while the right one tells in line {number} that" for number in "abcdefgh"]
WORDY = """Notwithstanding considerable disagreement among participants, the international commission recommended
comprehensive investigations of meteorological observatories whose instruments had deteriorated conspicuously after
extraordinary thunderstorms; correspondingly, administrative responsibilities were redistributed between neighbouring
municipalities, although representatives characterised such arrangements as fundamentally unsatisfactory."""


def document(*pages: Callable[[FPDF], None]) -> Document:
    made = FPDF(unit="pt", format="A4")
    made.set_auto_page_break(False)
    for write in pages:
        made.add_page()
        made.set_font("helvetica", size=10)
        write(made)
    return parse(bytes(made.output()), "a.pdf")


def put(made: FPDF, x: float, y: float, lines: Iterable[str], step: float = 12) -> None:
    for number, line in enumerate(lines):
        made.text(x, y + step * number, line)


def blocks(parsed: Document, kind: str) -> list[str]:
    return [parsed.text[block.start : block.end] for block in parsed.blocks if block.kind == kind]


def prose(made: FPDF, y: float = 100, lines: int = 12) -> None:
    made.set_font("helvetica", size=10)
    put(made, 50, y, [f"Here a line of plain text follows, the one with number {n} of so many." for n in range(lines)])


@pytest.mark.parametrize("row_by_row", [False, True])
def test_columns_are_read_one_after_the_other(row_by_row: bool) -> None:
    def write(made: FPDF) -> None:
        put(made, 180, 60, ["A title across both of the columns"])
        if row_by_row:
            for number, (left, right) in enumerate(zip(LEFT, RIGHT, strict=True)):
                put(made, 50, 100 + 12 * number, [left])
                put(made, 310, 100 + 12 * number, [right])
        else:
            put(made, 50, 100, LEFT)
            put(made, 310, 100, RIGHT)
        put(made, 50, 230, ["This line at the end goes across both of the columns, from the left one to the right"])

    words = document(write).text.split()
    expected = ["A title across both of the columns", *LEFT, *RIGHT]
    assert words[: len(" ".join(expected).split())] == " ".join(expected).split()
    assert words[-1] == "right"


def test_three_columns() -> None:
    columns = [[f"{name} words of line {n} to read" for n in range(8)] for name in ("first", "second", "third")]

    def write(made: FPDF) -> None:
        for x, column in zip((40, 220, 400), columns, strict=True):
            put(made, x, 100, column)

    assert document(write).text.split() == " ".join(line for column in columns for line in column).split()


def test_a_paragraph_goes_on_in_the_next_column() -> None:
    def write(made: FPDF) -> None:
        put(made, 50, 100, LEFT)
        put(made, 310, 100, RIGHT)

    assert len(document(write).blocks) == 1


def test_text_that_the_file_has_in_another_order_is_read_from_above() -> None:
    def write(made: FPDF) -> None:
        put(made, 50, 400, ["What is written first but stands below."])
        put(made, 50, 100, ["What stands above."])

    assert document(write).text == "What stands above.\n\nWhat is written first but stands below."


def test_a_table_keeps_its_rows_and_cells() -> None:
    rows = [("Mast", "Height", "Note"), ("North", "12 m", ""), ("East tower", "7.5 m", "guyed"), ("West", "30 m", "")]

    def write(made: FPDF) -> None:
        prose(made)
        for number, row in enumerate(rows):
            for x, cell in zip((50, 200, 300), row, strict=True):
                put(made, x, 280 + 16 * number, [cell] if cell else [])
        prose(made, 380)

    parsed = document(write)
    table = "Mast | Height | Note\nNorth | 12 m |\nEast tower | 7.5 m | guyed\nWest | 30 m |"
    assert blocks(parsed, "table") == [table]
    assert f"\n\n{table}\n\n" in parsed.text


def test_the_second_line_of_a_cell_belongs_to_its_row() -> None:
    def write(made: FPDF) -> None:
        for number, name in enumerate(("Rope", "Hook", "Ladder")):
            put(made, 50, 100 + 40 * number, [name])
            put(made, 200, 100 + 40 * number, ["is checked before", "every ascent"])
            put(made, 400, 100 + 40 * number, [str(number)])

    rows = blocks(document(write), "table")[0].split("\n")
    assert rows == [
        f"{name} | is checked before every ascent | {n}" for n, name in enumerate(("Rope", "Hook", "Ladder"))
    ]


def test_a_cell_over_two_columns_keeps_them_apart() -> None:
    def write(made: FPDF) -> None:
        put(made, 230, 100, ["Height and width"])
        for number in range(4):
            for x, cell in ((50, f"mast {number}"), (210, f"{number} m"), (300, f"{number} cm")):
                put(made, x, 116 + 16 * number, [cell])

    assert blocks(document(write), "table")[0].endswith("mast 3 | 3 m | 3 cm")


def test_tables_made_by_a_library() -> None:
    data = [["City", "People", "Since"], ["Oslo", "709,000", "1040"], ["Bergen", "291,000", "1070"]]

    def write(made: FPDF) -> None:
        with made.table(data):
            pass

    assert blocks(document(write), "table") == ["\n".join(" | ".join(row) for row in data)]


def test_words_far_apart_in_justified_text_are_no_table() -> None:
    def write(made: FPDF) -> None:
        made.multi_cell(170, 12, WORDY, align="J")

    assert blocks(document(write), "table") == []


def test_items_of_a_list_are_one_block() -> None:
    def write(made: FPDF) -> None:
        prose(made)
        put(made, 60, 280, ["\u00b7 take the rope,", "\u00b7 take the hook, which", "  hangs beside it,", "\u00b7 go."])
        put(made, 50, 350, ["1. First of all", "2. And then"])
        prose(made, 400)

    lists = blocks(document(write), "list")
    assert lists[0].split("\n")[0] == "\u00b7 take the rope,"
    assert "1. First of all\n2. And then" in lists[-1]


def test_code_keeps_its_indents() -> None:
    code = ["def climb(mast):", "    for step in mast:", "        step.up()", "    return mast"]

    def write(made: FPDF) -> None:
        prose(made)
        made.set_font("courier", size=10)
        put(made, 60, 280, code)
        prose(made, 360)

    assert blocks(document(write), "code") == ["\n".join(code)]


def titled(made: FPDF, title: str, style: str, size: float, y: float) -> None:
    made.set_font("helvetica", style=style, size=size)
    put(made, 50, y, [title])
    prose(made, y + 30, 6)


def test_headings_are_told_by_size_and_weight() -> None:
    def write(made: FPDF) -> None:
        titled(made, "On masts", "", 20, 60)
        titled(made, "Before the ascent", "B", 14, 200)
        titled(made, "The rope", "B", 10, 340)
        titled(made, "After it", "B", 14, 480)

    parsed = document(write)
    assert [(section.level, section.path) for section in parsed.sections] == [
        (1, ("On masts",)),
        (2, ("On masts", "Before the ascent")),
        (3, ("On masts", "Before the ascent", "The rope")),
        (2, ("On masts", "After it")),
    ]
    assert blocks(parsed, "heading") == ["On masts", "Before the ascent", "The rope", "After it"]
    assert parsed.text[parsed.sections[2].start :].startswith("The rope\n\nHere a line")


def test_numbers_of_one_style_make_levels() -> None:
    def write(made: FPDF) -> None:
        for number, title in enumerate(("1 Masts", "1.1 Of wood", "1.2 Of steel", "2 Ropes")):
            titled(made, title, "B", 12, 60 + 140 * number)

    assert [section.level for section in document(write).sections] == [1, 2, 2, 1]


def test_an_outline_that_names_only_some_headings_is_completed() -> None:
    def write(made: FPDF) -> None:
        made.start_section("Masts")
        titled(made, "Masts", "B", 16, 60)
        titled(made, "Of wood", "B", 12, 200)
        titled(made, "Ropes", "B", 16, 340)

    assert [section.path for section in document(write).sections] == [("Masts",), ("Masts", "Of wood"), ("Ropes",)]


def test_bold_text_is_no_heading() -> None:
    def write(made: FPDF) -> None:
        prose(made)
        made.set_font("helvetica", style="B", size=10)
        put(
            made,
            50,
            280,
            ["Mind that this whole paragraph is set in bold type, which goes on", "for two lines and ends."],
        )
        prose(made, 340)

    assert blocks(document(write), "heading") == []


def with_running_lines(number: int) -> Callable[[FPDF], None]:
    def write(made: FPDF) -> None:
        put(made, 50, 30, [f"Chapter {1 + number // 2}: Masts        {number + 1}"])
        prose(made)
        put(made, 50, 500, [f"The last line of page {'abcdefgh'[number]}."])
        put(made, 280, 800, [f"- {number + 1} -"])

    return write


def test_headers_with_changing_words_and_numbers_are_dropped() -> None:
    text = document(*map(with_running_lines, range(6))).text
    assert "Chapter" not in text
    assert "- 3 -" not in text
    assert "The last line of page c." in text


def test_equal_titles_of_pages_are_no_running_headers() -> None:
    def write(made: FPDF) -> None:
        made.set_font("helvetica", size=20)
        put(made, 50, 50, ["Results"])
        prose(made)

    others = [lambda made: prose(made)] * 5
    assert document(write, write, write, *others).text.count("Results") == 3


def test_a_word_divided_at_a_page_end_is_mended() -> None:
    def write(made: FPDF) -> None:
        prose(made)
        put(made, 50, 244, ["Nobody went up the scaf-"])

    def next_page(made: FPDF) -> None:
        put(made, 50, 100, ["folding that day, for it rained."])

    assert "up the scaffolding\n\nthat day" in document(write, next_page).text


@pytest.mark.parametrize(
    ("above", "below", "mended"),
    [
        ("They used a well-", "known rope. It was well-known.", "a well-known"),
        ("It was state-of-the-", "art in those days.", "state-of-the-art"),
        ("They are neigh-", "bours of ours.", "neighbours"),
        ("On that road they saw Jean-", "Paul and his dog.", "Jean-Paul"),
        ("The ropes and long-", "term plans. In the long run a term ends.", "long-term"),
        ("It weighed 10-", "20 kilograms at most.", "10-\n20"),
    ],
)
def test_hyphens_that_belong_to_a_word_stay(above: str, below: str, mended: str) -> None:
    text = document(lambda made: put(made, 50, 100, [above, below])).text
    assert mended in text


def test_text_turned_by_a_quarter_stands_apart() -> None:
    def write(made: FPDF) -> None:
        with made.rotation(90, 20, 400):
            put(made, 20, 400, ["A stamp in the margin"])
        prose(made)

    text = document(write).text
    assert text.startswith("Here a line")
    assert text.endswith("A stamp in the margin")


def test_a_page_lying_on_its_side_is_read_as_it_is_held() -> None:
    def write(made: FPDF) -> None:
        with made.rotation(90, 300, 400):
            put(made, 300, 400, ["Above all", "and below"])

    assert document(write).text == "Above all\nand below"


ITEMS = st.tuples(
    st.sampled_from([40, 60, 180, 300, 310, 450]),
    st.integers(40, 800),
    st.sampled_from([6, 10, 10, 14, 24]),
    st.sampled_from(["helvetica", "courier"]),
    st.text("abz .-|\u00e9", min_size=1, max_size=30),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(ITEMS, max_size=30), min_size=1, max_size=4))
def test_any_page_keeps_the_shape_of_a_document(pages: list[list[tuple[int, int, int, str, str]]]) -> None:
    def writer(items: list[tuple[int, int, int, str, str]]) -> Callable[[FPDF], None]:
        def write(made: FPDF) -> None:
            made.text(40, 20, "begins")
            for x, y, size, face, text in items:
                made.set_font(face, size=size)
                made.text(x, y, text)

        return write

    parsed = document(*map(writer, pages))
    ends = [0, *(block.end for block in parsed.blocks)]
    for block, before in zip(parsed.blocks, ends, strict=False):
        assert before <= block.start < block.end <= len(parsed.text)
        assert parsed.text[block.start : block.end].strip()
        assert not parsed.text[block.end - 1].isspace()
        assert parsed.text[before : block.start].strip() == ""
    starts = {block.start for block in parsed.blocks}
    assert all(section.start in starts or section.level == 0 for section in parsed.sections)
    assert len(parsed.page_starts) == len(pages)
    assert list(parsed.page_starts) == sorted(parsed.page_starts)
