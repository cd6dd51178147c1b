from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsing.office_files import blocks, paths
from ragstone.errors import BrokenDocument, DocumentError
from ragstone.parsing.parse import parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def read(value: Any) -> list[tuple[str, str]]:
    return blocks(parse(json.dumps(value).encode(), "a.json"))


def test_a_list_of_objects_is_one_record_each() -> None:
    assert read([{"name": "Anna", "home": {"city": "Berlin"}}, {"name": "Bob", "tags": ["x", "y"], "left": None}]) == [
        ("table", "name: Anna; home.city: Berlin\nname: Bob; tags: x, y")
    ]


def test_an_object_is_a_record_and_its_lists_are_sections() -> None:
    value = {"name": "Shop", "open": True, "stock": {"items": [{"sku": "A1", "parts": [{"n": 1}, {"n": 2}]}]}}
    document = parse(json.dumps(value).encode(), "a.json")
    assert blocks(document) == [
        ("table", "name: Shop; open: true"),
        ("heading", "stock.items"),
        ("table", "sku: A1; parts.1.n: 1; parts.2.n: 2"),
    ]
    assert document.title == "Shop"
    assert paths(document) == [(), ("stock.items",)]


def test_a_key_is_no_title_of_the_whole() -> None:
    assert parse(b'{"paths": [{"a": 1}]}', "api.json").title == "api.json"
    assert parse(b'{"title": " The\\n API ", "paths": [{"a": 1}]}', "api.json").title == "The API"


def test_lines_of_json_are_read_under_either_name() -> None:
    assert blocks(parse(b'{"a": 1}\n{"a": 2}\n', "export.json")) == [("table", "a: 1\na: 2")]
    assert parse(b'{"a": 1}\n{"a": \n', "export.json").media_type == "text/x-source"


def test_numbers_stay_as_they_are_written() -> None:
    digits = "9" * 5000
    text = parse(f'{{"a": 1.50, "b": 1e3, "c": {digits}}}'.encode(), "a.json").text
    assert text.split("\n") == ["a: 1.50", "b: 1e3", f"c: {digits}"]


def test_lines_are_records() -> None:
    document = parse(b'{"a": 1}\n\n{"a": "two"}\n', "log.jsonl")
    assert blocks(document) == [("table", "a: 1\na: two")]


@pytest.mark.parametrize("name", ["a.json", "export.txt", "export"])
def test_json_is_told_by_its_content(name: str) -> None:
    assert parse(b'{"a": {"b": 1}}\n', name).media_type == "application/json"


@pytest.mark.parametrize(
    ("text", "name"),
    [('// settings\n{"a": 1,}', "tsconfig.json"), ("[see below]", "note.txt"), ('{"a": 1}\nbroken', "log.jsonl")],
)
def test_what_is_no_json_stays_text(text: str, name: str) -> None:
    assert parse(text.encode(), name).text == text


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"a":' * 300 + "1" + "}" * 300])
def test_what_is_nested_without_end_is_refused(text: str) -> None:
    with pytest.raises(BrokenDocument, match="nested more than"):
        parse(text.encode(), "a.json")


@given(VALUES)
def test_every_word_is_kept(value: Any) -> None:
    try:
        document = parse(json.dumps({"top": value}).encode(), "a.json")
    except DocumentError:
        return
    for leaf in _words(value):
        assert leaf in document.text


def _words(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [word for each in inner for word in _words(each)]
    return [value] if isinstance(value, str) and value.isalnum() else []
