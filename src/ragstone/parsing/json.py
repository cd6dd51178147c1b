"""JSON and JSON Lines: records with the paths of their keys, `address.city: Berlin`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ragstone.errors import BrokenDocument
from ragstone.models import Document
from ragstone.parsing.decoding import clean
from ragstone.parsing.records import write_records
from ragstone.parsing.writer import Writer

DEEPEST = 100
"""Levels of nesting; a deeper value is no document."""

TITLES = ("title", "name")


def parse(text: str, name: str) -> Document | None:
    """An object's own values are one record; each list of objects in it is a section, one record an object.

    None for what is no JSON. Raises BrokenDocument for what is nested too deeply.
    """
    try:
        return _written(_read(text), "application/json")
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError:
        return None


def parse_lines(text: str, name: str) -> Document | None:
    """One record a line. None when a line is no JSON. Raises BrokenDocument for what is nested too deeply."""
    try:
        return _written([_read(line) for line in text.split("\n") if line.strip()], "application/jsonl")
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError:
        return None


def _too_deep(name: str) -> BrokenDocument:
    return BrokenDocument(f"{name} is nested more than {DEEPEST} levels deep", hint="exclude it, or flatten it")


def _read(text: str) -> Any:
    """Numbers stay as they are written."""
    return json.loads(text, parse_float=str, parse_int=str)


def _written(value: Any, media_type: str) -> Document:
    writer = Writer()
    _write(writer, value)
    titles = [value[key] for key in TITLES if isinstance(value, dict) and isinstance(value.get(key), str)]
    document = writer.document(media_type=media_type)
    return replace(document, title=" ".join(clean(titles[0]).split()) if titles else "")  # no key names the whole


def _write(writer: Writer, value: Any) -> None:
    if _is_table(value):
        write_records(writer, (list(_fields(each, ())) for each in value))
        return
    tables: list[tuple[tuple[str, ...], Any]] = []
    write_records(writer, [list(_fields(value, (), tables))])
    for below, table in tables:
        writer.heading(1, ".".join(below))
        _write(writer, table)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, dict | list) for each in value)


def _fields(
    value: Any, path: tuple[str, ...], tables: list[tuple[tuple[str, ...], Any]] | None = None
) -> Iterator[tuple[str, str]]:
    """The values below, each under its path. Lists of objects go to `tables`, or have numbers in their paths."""
    if len(path) > DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _fields(inner, (*path, key), tables)
    elif not _is_table(value):
        yield ".".join(path), ", ".join(map(_words, value)) if isinstance(value, list) else _words(value)
    elif tables is not None:
        tables.append((path, value))
    else:
        for number, inner in enumerate(value, 1):
            yield from _fields(inner, (*path, str(number)))


def _words(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
