"""Rows and records → lines that can be understood alone: `name: Anna; city: Berlin`.

A chunk may begin at any row, and a question uses the names of columns ("which city …"): so each row repeats them, and
leaves out those without a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeAlias

from ragstone.parsing.decoding import clean
from ragstone.parsing.writer import Writer

Record: TypeAlias = Sequence[tuple[str, str]]
"""Names and values; a value may lack a name."""

LONG_RECORD = 600
"""Characters; a longer record, such as one with an article in it, is written one field a line."""

LONGEST_NAME = 100
"""Characters of a column's name; longer is a value."""

_NUMBER = re.compile(r"[-+(]?[\d.,\s]*\d[\d.,\s]*\)?(?:\s?[%€$£]|e[-+]?\d+)?", re.I)
_YEAR = re.compile(r"(?:19|20)\d\d")


def write_records(writer: Writer, records: Iterable[Record]) -> None:
    """Short records are the rows of one table; each long one is a paragraph of its own."""
    rows: list[str] = []
    for record in records:
        fields = [f"{name}: {value}" if name else value for name, value in _filled(record)]
        row = "; ".join(fields)
        if len(row) <= LONG_RECORD and "\n" not in row:
            rows.append(row)
        else:
            writer.block("table", "\n".join(filter(None, rows)))
            writer.block("paragraph", "\n".join(fields))
            rows = []
    writer.block("table", "\n".join(filter(None, rows)))


def write_rows(writer: Writer, rows: Iterable[Sequence[str]]) -> None:
    """Rows under names where the first full row holds names, or else `a | b | c`.

    Rows of a single cell before the names are what people write above a table.
    """
    filled = (row for row in rows if any(cell.strip() for cell in row))
    for row in filled:
        if sum(bool(cell.strip()) for cell in row) > 1:
            _write_table(writer, row, filled)
        else:
            writer.block("paragraph", "".join(row).strip())


def _write_table(writer: Writer, first: Sequence[str], rest: Iterator[Sequence[str]]) -> None:
    if _are_names(first):
        names = [" ".join(clean(name).split()) for name in first]
        write_records(writer, (_named(names, row) for row in rest))
    else:
        writer.block("table", "\n".join(bare_row(row) for row in chain([first], rest)))


def bare_row(cells: Sequence[str]) -> str:
    """A row of a table whose columns have no known names."""
    return " | ".join(" ".join(clean(cell).split()) for cell in cells).rstrip(" |").lstrip()


def _are_names(row: Sequence[str]) -> bool:
    """Distinct words. Numbers are values, but for years in the columns of a time table."""
    names = [cell.strip() for cell in row if cell.strip()]
    are_words = all(not _NUMBER.fullmatch(name) or _YEAR.fullmatch(name) for name in names)
    return (
        are_words
        and not _YEAR.fullmatch(names[0])
        and len({*names}) == len(names)
        and max(map(len, names)) < LONGEST_NAME
    )


def _named(names: Sequence[str], row: Sequence[str]) -> Record:
    return [(names[column] if column < len(names) else "", cell) for column, cell in enumerate(row)]


def _filled(record: Record) -> Iterator[tuple[str, str]]:
    for name, value in record:
        content = clean(value).strip()
        if content:
            yield name, content
