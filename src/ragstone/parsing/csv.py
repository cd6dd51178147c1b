"""Tables as text: CSV and its kin, whatever the delimiter."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice

from ragstone.models import Document
from ragstone.parsing import plain
from ragstone.parsing.records import write_rows
from ragstone.parsing.writer import Writer

DELIMITERS = ",;\t|"
SAMPLE = 50
"""Rows that are looked at to tell the delimiter."""


def parse(text: str) -> Document:
    """One record a row, under the names of the first. What the csv module cannot read stays as it is."""
    writer = Writer()
    try:
        write_rows(writer, _rows(text, _delimiter(text)))
    except csv.Error:
        return plain.parse(text, "table")
    return writer.document(media_type="text/csv")


def _delimiter(text: str) -> str:
    """The one that cuts most rows into the same number of cells; more cells win."""
    return max(DELIMITERS, key=lambda delimiter: _regularity(text, delimiter))


def _regularity(text: str, delimiter: str) -> tuple[int, int]:
    widths = [len(row) for row in islice(_rows(text, delimiter), SAMPLE) if row]
    usual = max({*widths}, key=widths.count, default=1)
    return (widths.count(usual), usual) if usual > 1 else (0, 0)


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(text.splitlines(keepends=True), delimiter=delimiter, skipinitialspace=True)
