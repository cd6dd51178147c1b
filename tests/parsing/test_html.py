from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.errors import BrokenDocument
from ragstone.parsing.parse import parse

HANDBOOK = Path(__file__).parents[2] / "examples" / "handbook" / "docs"
LONG = "This sentence is here to make the page long enough that its main content can be told from the rest of it. " * 4


def page(body: str, head: str = "") -> bytes:
    return f"<!doctype html><html lang='de'><head>{head}</head><body>{body}</body></html>".encode()


def test_the_main_content_without_what_stands_around_it() -> None:
    document = parse((HANDBOOK / "benefits.html").read_bytes(), "benefits.html")
    assert "We add 6 % of your gross salary" in document.text
    for noise in ("Search the handbook", "Imprint", "analytics", "background", "robot"):
        assert noise not in document.text
    assert document.title == "Benefits"
    assert [section.path for section in document.sections][:3] == [
        ("Benefits",),
        ("Benefits", "Pension"),
        ("Benefits", "Health"),
    ]


def test_tables_are_rows() -> None:
    document = parse((HANDBOOK / "benefits.html").read_bytes(), "benefits.html")
    (table,) = [block for block in document.blocks if block.kind == "table"]
    assert document.text[table.start : table.end].split("\n")[:2] == [
        "Choice | What we pay | Conditions",
        "Public transport ticket | the whole price | none",
    ]


def test_a_table_in_a_table_is_written_once() -> None:
    inner = "<table><tr><td>b</td><td>c</td></tr></table>"
    document = parse(page(f"<table><tr><td>a</td><td>{inner}</td></tr><tr><td>d</td></tr></table>"), "a.html")
    assert sorted(document.text.replace("|", " ").split()) == ["a", "b", "c", "d"]
    assert [block.kind for block in document.blocks] == ["table"] * len(document.blocks)


def test_code_stays_verbatim_and_lists_keep_their_marks() -> None:
    code = "def f(x):\n    if x &lt; 3:\n\n        return 1\n"
    listed = (
        "<ul><li>one <b>bold</b></li><li>two<ul><li>below</li></ul></li></ul><ol><li>first</li><li>second</li></ol>"
    )
    document = parse(page(f"<main><h1>A</h1><p>{LONG}</p><pre><code>{code}</code></pre>{listed}</main>"), "a.html")
    texts = [(block.kind, document.text[block.start : block.end]) for block in document.blocks]
    assert ("code", "def f(x):\n    if x < 3:\n\n        return 1") in texts
    assert ("list", "- one bold\n- two\n  - below") in texts
    assert ("list", "1. first\n2. second") in texts


def test_code_without_a_code_element_keeps_its_lines() -> None:
    pre = '<div class="highlight"><pre><span class="k">ls</span> -l<br>  cd here\n</pre></div>'
    document = parse(page(f"<p>{LONG}</p>{pre}<p>{LONG}</p>"), "a.html")
    code = [document.text[block.start : block.end] for block in document.blocks if block.kind == "code"]
    assert code == ["ls -l\n  cd here"]


def test_a_page_that_names_no_article_keeps_its_headings() -> None:
    parts = "".join(f"<h2>Part {number}</h2><p>{number}: {LONG}</p>" for number in range(9))
    document = parse(page(f"<div><h1>Bare</h1>{parts}</div>"), "a.html")
    assert [section.path for section in document.sections] == [
        ("Bare",),
        *(("Bare", f"Part {number}") for number in range(9)),
    ]


def test_blocks_in_cells_and_items_stand_apart_and_words_do_not() -> None:
    cells = "<tr><th>Name</th><th>Note</th></tr><tr><td>H<sub>2</sub>O</td><td><p>one</p><p>two</p></td></tr>"
    document = parse(page(f"<table>{cells}</table><ul><li><p>three</p><p>fo<b>ur</b></p></li></ul>"), "a.html")
    assert document.text == "Name | Note\nH2O | one two\n\n- three four"


def test_a_table_that_only_places_things_is_no_table() -> None:
    cell = f"<td><h2>News</h2><p>{LONG}</p><p>More</p></td>"
    document = parse(page(f"<table><tr>{cell}<td>Aside</td></tr></table>"), "a.html")
    assert [block.kind for block in document.blocks][:2] == ["heading", "paragraph"]
    assert [section.path for section in document.sections] == [("News",)]


def test_a_short_page_keeps_its_headings() -> None:
    document = parse(page("<nav>Home</nav><h1>Hi</h1><p>Short.<br>Line</p><h3>Deep</h3><p>End</p>"), "a.html")
    assert document.text == "Hi\n\nShort.\nLine\n\nDeep\n\nEnd"
    assert [(section.level, section.path) for section in document.sections] == [(1, ("Hi",)), (3, ("Hi", "Deep"))]


def test_a_fragment_is_a_page_too() -> None:
    assert parse(b"<p>Only a paragraph</p>", "a.html").text == "Only a paragraph"


def test_title_and_language() -> None:
    named = parse(page("<p>Text</p>", "<title>The  page\n title</title>"), "a.html")
    assert (named.title, named.metadata) == ("The page title", {"lang": "de"})
    assert parse(page("<h1>Leave</h1><p>Text</p>", "<title>Leave | Intranet</title>"), "a.html").title == "Leave"
    assert parse(page("<p>Text</p>"), "a.html").title == "a.html"


def test_white_space_is_as_a_browser_shows_it() -> None:
    assert (
        parse(page("<p>one\n   two&nbsp;&nbsp;three <i>four</i>\n five</p>"), "a.html").text
        == "one two three four five"
    )


@pytest.mark.parametrize("depth", [100, 260, 1900])
def test_a_deep_page_is_read_whole(depth: int, capfd: pytest.CaptureFixture[str]) -> None:
    deep = "<div>" * depth + "<p>Deep words</p>" + "</div>" * depth
    document = parse(page(f"<p>{LONG}</p>{deep}<p>After it all</p>"), "a.html")
    assert "Deep words" in document.text
    assert "After it all" in document.text
    assert capfd.readouterr().err == ""


def test_a_page_too_deep_to_be_read_says_so() -> None:
    with pytest.raises(BrokenDocument, match="nested too deeply"):
        parse(page("<div>" * 5000 + "Deep words"), "a.html")


def test_a_short_deep_page_keeps_its_headings() -> None:
    deep = "<div>" * 300 + "<h2>Deep</h2><p>Words</p>" + "</div>" * 300
    assert [section.path for section in parse(page(deep), "a.html").sections] == [("Deep",)]


def test_words_of_deep_boxes_stay_apart() -> None:
    words = parse(page("<div>" * 150 + "one<div>two</div>three" + "</div>" * 150), "a.html").text.split()
    assert words == ["one", "two", "three"]


def test_lists_nested_without_end_are_refused() -> None:
    with pytest.raises(BrokenDocument, match="nested too deeply"):
        parse(page("<ul><li>word" * 900), "a.html")
