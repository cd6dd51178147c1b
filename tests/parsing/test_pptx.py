from __future__ import annotations

from typing import Any

from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from parsing.office_files import blocks, paths, saved
from ragstone.parsing.parse import parse


def slide(file: Any, layout: int = 6) -> Any:
    return file.slides.add_slide(file.slide_layouts[layout])


def test_a_slide_is_a_section_and_a_page() -> None:
    file = Presentation()
    first = slide(file, 1)
    first.shapes.title.text = "Goals"
    first.placeholders[1].text = "Faster\nCheaper"
    first.placeholders[1].text_frame.paragraphs[1].level = 1
    first.notes_slide.notes_text_frame.text = "Say why"
    slide(file).shapes.add_textbox(0, 0, 100, 100).text_frame.text = "Loose words"
    document = parse(saved(file), "a.pptx")
    assert blocks(document) == [
        ("heading", "Goals"),
        ("list", "- Faster\n  - Cheaper"),
        ("paragraph", "Notes: Say why"),
        ("heading", "Slide 2"),
        ("paragraph", "Loose words"),
    ]
    assert paths(document) == [("Goals",), ("Slide 2",)]
    assert [document.text[start:].split("\n")[0] for start in document.page_starts] == ["Goals", "Slide 2"]
    assert document.title == "Goals"


def test_shapes_are_read_from_top_to_bottom_groups_too() -> None:
    file = Presentation()
    shapes = slide(file).shapes
    shapes.add_textbox(0, Inches(5), 100, 100).text_frame.text = "last"
    group = shapes.add_group_shape()
    group.shapes.add_textbox(0, Inches(3), 100, 100).text_frame.text = "middle"
    shapes.add_textbox(0, Inches(1), 100, 100).text_frame.text = "first"
    assert [text for _, text in blocks(parse(saved(file), "a.pptx"))] == ["Slide 1", "first", "middle", "last"]


def test_tables_and_charts_are_rows() -> None:
    file = Presentation()
    shapes = slide(file).shapes
    table = shapes.add_table(2, 2, 0, 0, 100, 100).table
    table.cell(0, 0).text = "both"
    table.cell(0, 0).merge(table.cell(0, 1))
    table.cell(1, 0).text, table.cell(1, 1).text = "a", "b"
    data = CategoryChartData()  # type: ignore[no-untyped-call]
    data.categories = ["East", "West"]
    data.add_series("Sales", (19.5, 21))  # type: ignore[no-untyped-call]
    shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 500, 100, 100, data)
    tables = [text for kind, text in blocks(parse(saved(file), "a.pptx")) if kind == "table"]
    assert tables == ["both\na | b", "| East | West\nSales | 19.5 | 21"]
