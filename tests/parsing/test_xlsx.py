from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Any

import pytest
from openpyxl import Workbook  # type: ignore[import-untyped]

from parsing.office_files import blocks, changed, member, paths, saved
from ragstone.parsing.parse import parse


def sheet(*rows: list[Any]) -> Any:
    file = Workbook()
    for row in rows:
        file.active.append(row)
    return file


def test_a_sheet_is_a_section_hidden_ones_too() -> None:
    file = sheet(["name", "city"], ["Anna", "Berlin"], ["Bob", None], [None, None], ["Cem", "Köln"])
    file.active.title = "Staff"
    hidden = file.create_sheet("Old staff")
    hidden.sheet_state = "hidden"
    hidden.append(["name", "left"])
    hidden.append(["Dora", date(2020, 5, 17)])
    document = parse(saved(file), "staff.xlsx")
    assert paths(document) == [("Staff",), ("Old staff",)]
    assert blocks(document) == [
        ("heading", "Staff"),
        ("table", "name: Anna; city: Berlin\nname: Bob\nname: Cem; city: Köln"),
        ("heading", "Old staff"),
        ("table", "name: Dora; left: 2020-05-17"),
    ]
    assert document.title == "staff.xlsx"


@pytest.mark.parametrize(
    ("value", "number_format", "shown"),
    [
        (0.1 + 0.2, "General", "0.3"),
        (1234567, "General", "1234567"),
        (1234.5, '#,##0.00 "€"', "1,234.50"),
        (0.255, "0.0%", "25.5 %"),
        (7, "0000", "7"),
        (-3.14159, "0.00;[Red]-0.00", "-3.14"),
        (True, "General", "TRUE"),
        (datetime(2026, 1, 2, 15, 30), "yyyy-mm-dd hh:mm", "2026-01-02 15:30"),
        (datetime(2026, 1, 2), "dd.mm.yyyy", "2026-01-02"),
        (time(9, 5), "hh:mm", "09:05"),
    ],
)
def test_values_are_shown_as_people_write_them(value: Any, number_format: str, shown: str) -> None:
    file = sheet(["key", "value"], ["k", value])
    file.active["B2"].number_format = number_format
    assert blocks(parse(saved(file), "a.xlsx"))[-1] == ("table", f"key: k; value: {shown}")


def test_a_formula_is_its_value() -> None:
    data = saved(sheet(["a", "sum"], [1, "=A2+1"]))
    name = "xl/worksheets/sheet1.xml"
    calculated = re.sub(rb"<f>A2\+1</f><v\s*/?>(?:</v>)?", b"<f>A2+1</f><v>2</v>", member(data, name))
    assert calculated != member(data, name)
    assert blocks(parse(changed(data, {name: calculated}), "a.xlsx"))[-1] == ("table", "a: 1; sum: 2")


def test_a_sheet_that_lies_about_its_size_is_read_whole() -> None:
    data = saved(sheet(["a", "b"], ["c", "d"]))
    name = "xl/worksheets/sheet1.xml"
    lying = re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1"', member(data, name))
    assert blocks(parse(changed(data, {name: lying}), "a.xlsx"))[-1] == ("table", "a: c; b: d")


def test_what_stands_above_a_table_is_a_paragraph_and_years_may_be_names() -> None:
    file = sheet(["Sales of all regions"], [], ["region", 2024, 2025], ["East", 1, 2])
    assert blocks(parse(saved(file), "a.xlsx"))[1:] == [
        ("paragraph", "Sales of all regions"),
        ("table", "region: East; 2024: 1; 2025: 2"),
    ]


def test_rows_without_names_are_bare() -> None:
    assert blocks(parse(saved(sheet([1, 2], [3, 4])), "a.xlsx"))[1:] == [("table", "1 | 2\n3 | 4")]
