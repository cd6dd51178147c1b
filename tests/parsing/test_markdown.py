from __future__ import annotations

import pytest

from ragstone.models import Document
from ragstone.parsing.parse import parse


def read(text: str) -> Document:
    return parse(text.encode(), "page.md")


def paths(text: str) -> list[tuple[str, ...]]:
    return [section.path for section in read(text).sections]


def blocks(text: str) -> list[tuple[str, str]]:
    document = read(text)
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def test_the_text_is_the_source_after_the_front_matter() -> None:
    document = read("---\ntitle: Leave\ntags: [a, b]\nreviewed: 2026-01-12\n---\n\n# Other\n\n*Text* [link](x)\n")
    assert document.text == "\n# Other\n\n*Text* [link](x)\n"
    assert document.title == "Leave"
    assert document.metadata == {"title": "Leave", "tags": ["a", "b"], "reviewed": "2026-01-12"}


@pytest.mark.parametrize(
    "text",
    [
        "---\n- a list\n---\ntext",
        "---\na: [\n---\ntext",
        "---\n\ntext with a rule above",
        "---\na: &x [1]\nb: *x\n---\ntext",
        "text\n---\na: 1\n---\n",
    ],
)
def test_what_is_no_front_matter_stays_text(text: str) -> None:
    assert read(text).text == text
    assert read(text).metadata == {}


def test_front_matter_becomes_json() -> None:
    document = read("---\na: .inf\nb: {1: x}\nc: 12:30\nd: !!binary aGk=\n---\ntext")
    assert document.metadata["a"] == "inf"
    assert document.metadata["b"] == {"1": "x"}


def test_front_matter_holds_only_what_a_database_takes() -> None:
    large = "0x" + "f" * 5000
    document = read(f'---\ntitle: "a\\0b\\ud800"\n"k\\0": ["\\0"]\nlarge: {large}\n? {large}\n: 1\n---\ntext')
    assert document.title == "ab"
    assert document.metadata == {"title": "ab", "k": [""], "large": large, large: 1}


@pytest.mark.parametrize("value", ["!!bool maybe", "!!int ''", "!!timestamp x", "1:" * 900 + "1.5"])
def test_front_matter_that_yaml_stumbles_over_stays_text(value: str) -> None:
    assert read(f"---\na: {value}\n---\ntext").metadata == {}


def test_sections_follow_the_headings() -> None:
    text = "Before\n\n# A\n\n## B\n\ntext\n\nSetext\n------\n\n#### Deep\n\n# C\n"
    assert paths(text) == [(), ("A",), ("A", "B"), ("A", "Setext"), ("A", "Setext", "Deep"), ("C",)]
    document = read(text)
    a = document.sections[1]
    assert document.text[a.start : a.end].startswith("# A")
    assert document.text[a.end :] == "# C\n"
    assert [section.parent for section in document.sections] == [None, None, 1, 1, 3, None]


def test_markup_is_no_part_of_a_heading() -> None:
    assert paths("# The `Result` *type* [here](x) ![logo](y) <a id='x'></a>~~old~~ &amp; {#result}") == [
        ("The Result type here logo old &",)
    ]


def test_headings_in_code_quotes_and_lists_are_none() -> None:
    text = "# A\n\n```sh\n# comment\n```\n\n    # indented\n\n> # quoted\n\n- # in a list\n\n<!-- \n# hidden\n-->\n"
    assert paths(text) == [("A",)]


def test_an_open_fence_holds_all_that_follows() -> None:
    assert paths("# A\n\n```\n# not a heading\n\n# nor this") == [("A",)]


def test_blocks_of_every_kind() -> None:
    text = "# A\n\nOne\ntwo\n\n- x\n\n  y\n- z\n\n```py\n\ncode\n```\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n> quote\n"
    assert blocks(text) == [
        ("heading", "# A"),
        ("paragraph", "One\ntwo"),
        ("list", "- x\n\n  y\n- z"),
        ("code", "```py\n\ncode\n```"),
        ("table", "| a | b |\n| - | - |\n| 1 | 2 |"),
        ("paragraph", "> quote"),
    ]


def test_includes_of_mdbook_stay_as_they_are() -> None:
    assert blocks("```rust\n{{#include ../main.rs}}\n```") == [("code", "```rust\n{{#include ../main.rs}}\n```")]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("## Small\n\n# Large\n", "Large"),
        ("## Opens\n\ntext", "Opens"),
        ("Text\n\n## Later\n", "page.md"),
        ("---\ntitle: '  '\n---\n# A", "A"),
    ],
)
def test_titles(text: str, title: str) -> None:
    assert read(text).title == title


def test_a_paragraph_with_a_rule_under_it_is_no_heading() -> None:
    long = "words of a whole paragraph " * 12
    document = parse(f"Title\n=====\n\n{long.strip()}\n---\n\nMore.".encode(), "a.md")
    assert [section.path for section in document.sections] == [("Title",)]
    assert [block.kind for block in document.blocks] == ["heading", "paragraph", "paragraph"]


def test_a_heading_without_words_begins_no_section() -> None:
    assert [section.path for section in parse(b"# A\n\nOne\n\n##\n\nTwo\n\n## ##\n", "a.md").sections] == [("A",)]


def test_a_heading_of_many_pages_is_cut_off_in_paths_alone() -> None:
    document = parse(b"# " + b"word " * 500 + b"\n\nText", "a.md")
    assert len(document.title) <= 300
    assert document.title == document.sections[0].path[0]
    assert document.text.count("word") == 500
