"""Excel workbooks by openpyxl: a section for each sheet, its rows under the names of their columns."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from io import BytesIO
from typing import Any

from openpyxl import load_workbook  # type: ignore[import-untyped]

from ragstone.models import Document
from ragstone.parsing import office
from ragstone.parsing.records import write_rows
from ragstone.parsing.writer import Writer

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MIDNIGHT = time()

_DIGITS = re.compile(r"0\.(0+)")
_TEXT_IN_FORMAT = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')


def parse(content: BytesIO, name: str) -> Document:
    """Hidden sheets too. A formula is its value when the file was last saved. Raises BrokenDocument."""
    writer = Writer()
    with office.faults(name), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions that are of no account here
        workbook = load_workbook(content, read_only=True, data_only=True, keep_links=False)
        for sheet in workbook.worksheets:
            sheet.reset_dimensions()  # which may be wrong, and are believed otherwise
            writer.heading(1, sheet.title)
            write_rows(writer, ([shown(cell) for cell in row] for row in sheet.iter_rows()))
        properties = workbook.properties
    document = writer.document(media_type=MEDIA_TYPE, metadata=office.metadata(properties.creator))
    return replace(document, title=office.title(properties.title))  # the first sheet's name says little of the whole


def shown(cell: Any) -> str:
    """A cell's value as a person would write it: dates as in ISO 8601, numbers with their digits, % and thousands."""
    value = cell.value
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case datetime():
            return f"{value:%Y-%m-%d}" if value.time() == MIDNIGHT else f"{value:%Y-%m-%d %H:%M}"
        case date():
            return value.isoformat()
        case time():
            return f"{value:%H:%M}"
        case timedelta():
            return str(value)
        case int() | float():
            return number(value, cell.number_format or "")
        case _:
            return str(value)


def number(value: float, number_format: str) -> str:
    """In the decimals of its format; without one, in as many digits as Excel keeps."""
    pattern = _TEXT_IN_FORMAT.sub("", number_format).split(";")[0]
    percent = "%" in pattern
    decimals = _DIGITS.search(pattern)
    thousands = "," if "#,#" in pattern or "0,0" in pattern else ""
    shown = value * 100 if percent else value
    if decimals or percent or "0" in pattern:
        return f"{shown:{thousands}.{len(decimals[1]) if decimals else 0}f}" + (" %" if percent else "")
    return f"{shown:{thousands}.15g}"
