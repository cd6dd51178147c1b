"""What holds for every kind: what a document is, and what becomes of bytes that are none."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragstone.errors import DocumentError, EmptyDocument, UnsupportedDocument
from ragstone.models import Document
from ragstone.parsing.parse import parse

HANDBOOK = Path(__file__).parents[2] / "examples" / "handbook" / "docs"
NAMES = st.sampled_from(
    ["a.md", "a.html", "a.txt", "a.py", "a.csv", "a.json", "a.jsonl", "a.eml", "a.docx", "a.pdf", "a"]
)
PIECES = (
    *("# A\n", "A\n===\n", "```\n", "---\n", "title: x\n", "| a | b |\n", "| - | - |\n", "- x\n", "\t", "\r\n", "\0"),
    *("<p>", "</p>", "<table><tr><td>", "<pre>", "<li>", "<ul>", "&#xD800;", "<!doctype html>", "<br>", "\ufeff"),
    *(
        "%PDF-1.7\n",
        "From: a\nTo: b\nDate: ",
        "Content-Type: text/html\n\n",
        '{"a": [',
        "]}",
        "1,",
        "word ",
        "日本語",
        "\x0c",
        "\ud800",
    ),
)
MARKUP = st.lists(st.sampled_from(PIECES), max_size=30).map(
    lambda parts: "".join(parts).encode("utf-8", "surrogatepass")
)


def sound(document: Document) -> None:
    """All that others may count on."""
    text = document.text
    assert text.strip()
    assert document.title.strip()
    metadata = json.dumps(document.metadata, allow_nan=False, ensure_ascii=False)
    words = [text, document.title, metadata, *(name for section in document.sections for name in section.path)]
    "".join(words).encode()  # no lone surrogates
    assert not any(character in word for word in words for character in ("\0", "\\u0000"))
    ends = [0]
    for block in document.blocks:
        assert ends[-1] <= block.start < block.end <= len(text)
        assert text[block.start : block.end].strip()
        ends.append(block.end)
    for ordinal, section in enumerate(document.sections):
        assert section.ordinal == ordinal
        assert 0 <= section.start <= section.end <= len(text)
        parent = document.sections[section.parent] if section.parent is not None else None
        assert len(section.path) == (0 if section.level == 0 else len(parent.path) + 1 if parent else 1)
        assert not parent or (parent.start <= section.start and section.end <= parent.end)
    starts = [section.start for section in document.sections]
    assert starts == sorted(starts)
    assert not text[: starts[0]].strip()
    assert list(document.page_starts) == sorted(document.page_starts)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400) | MARKUP, NAMES)
def test_any_bytes_are_a_sound_document_or_a_typed_error(data: bytes, name: str) -> None:
    try:
        document = parse(data, name)
    except DocumentError:
        return
    sound(document)


VALUES = st.sampled_from(
    [
        *('"a\\0b"', '"\\ud800"', '"\\x07"', "0x" + "f" * 5000, "9" * 5000, ".nan", "1:" * 900 + "1.5", "2026-13-45"),
        *("!!bool x", "!!int ''", "!!float ''", "!!timestamp x", "!!binary x", "!!set {a, 0x1}", "!!omap [a: b]"),
        *("[a, {b: c}]", "~", "yes", "word"),
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["title", "? ", "a"]) | VALUES, VALUES), max_size=4))
def test_any_front_matter_is_metadata_that_a_database_takes(pairs: list[tuple[str, str]]) -> None:
    matter = "".join(f"{key}: {value}\n" for key, value in pairs)
    sound(parse(f"---\n{matter}---\nText".encode(), "a.md"))


@pytest.mark.parametrize("path", sorted(HANDBOOK.iterdir()), ids=lambda path: path.name)
def test_the_handbook_reads(path: Path) -> None:
    document = parse(path.read_bytes(), path.name)
    sound(document)
    assert document.title in {path.name, *(name for section in document.sections for name in section.path)} or (
        document.metadata.get("title") == document.title or document.text.startswith(document.title)
    )


@pytest.mark.parametrize("data", [b"", b" \n\t\n", b"\xef\xbb\xbf \n", b"\0\0"])
def test_nothing_in_it(data: bytes) -> None:
    with pytest.raises(EmptyDocument if not data.startswith(b"\0") else DocumentError):
        parse(data, "a.txt")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
        (b"\x7fELF\x02\x01\x01", "ELF"),
        (b"SQLite format 3\0", "SQLite"),
        (b"\0\0\0 ftypisom", "MP4"),
        (bytes(range(256)) * 4, "binary"),
    ],
)
def test_a_binary_file_is_called_what_it_is(data: bytes, kind: str) -> None:
    with pytest.raises(UnsupportedDocument, match=kind):
        parse(data, "notes.txt")


def test_a_text_may_begin_like_a_binary_file() -> None:
    assert parse(b"BMW builds motorcycles. MZ did, too.", "a.txt").text.startswith("BMW")
    assert parse(b"MZ built motorcycles.", "a.txt").text.startswith("MZ")


@pytest.mark.parametrize(
    ("data", "name", "media_type"),
    [
        (b"<!DOCTYPE html><html><body><p>Hello</p></body></html>", "saved.txt", "text/html"),
        (b"<!doctype html><html><body><p>Hello</p></body></html>", "download.pdf", "text/html"),
        (b"<!doctype html> is how a page begins", "about-html.md", "text/markdown"),
        ((HANDBOOK / "field-work.pdf").read_bytes(), "manual.md", "application/pdf"),
        (b"# A heading", "a.markdown", "text/markdown"),
        (b"# A comment", "a.py", "text/x-source"),
        (b"a,b\n1,2", "a.csv", "text/csv"),
        (b"# No heading", "LICENSE", "text/plain"),
    ],
)
def test_content_tells_the_kind_before_the_name(data: bytes, name: str, media_type: str) -> None:
    assert parse(data, name).media_type == media_type


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings_are_told_apart(encoding: str) -> None:
    text = "Die Straße führt über die Brücke, und müde Wanderer grüßen höflich. Ständig wächst das Gedränge."
    assert parse(text.encode(encoding), "a.txt").text == text


def test_html_may_say_its_encoding() -> None:
    page = '<!doctype html><meta charset="koi8-r"><title>Привет</title><p>Добрый день, мир</p>'
    assert "Добрый день" in parse(page.encode("koi8-r"), "a.html").text


@pytest.mark.parametrize("encoding", ["hex", "rot13", "idna", "undefined", "no-such"])
def test_an_encoding_that_is_none_of_text_is_not_believed(encoding: str) -> None:
    page = f'<!doctype html><meta charset="{encoding}"><p>Die müden Wanderer grüßen höflich über die Brücke.</p>'
    assert "grüßen höflich" in parse(page.encode("cp1252"), "a.html").text


def test_characters_that_databases_refuse_are_left_out() -> None:
    assert parse(b"a long enough text\0 with NUL\x1b[0m and\r\nline ends", "a.txt").text == (
        "a long enough text with NUL[0m and\nline ends"
    )


def test_plain_text_has_a_block_for_each_paragraph() -> None:
    document = parse(b"\n  One\n  two\n\n \nThree\n", "notes/deep/a.txt")
    assert [document.text[b.start : b.end] for b in document.blocks] == ["One\n  two", "Three"]
    assert document.title == "a.txt"


def test_many_threads_may_parse_at_once() -> None:
    data = (HANDBOOK / "field-work.pdf").read_bytes()
    with ThreadPoolExecutor(8) as pool:
        documents = list(pool.map(lambda _: parse(data, "a.pdf"), range(40)))
    assert all(document == documents[0] for document in documents)


@pytest.mark.parametrize("text", ["Le café est très bon à la plage.", "Él irá mañana a la montaña.", "résumé naïve"])
def test_a_short_text_of_western_europe_is_read_as_one(text: str) -> None:
    assert parse(text.encode("cp1252"), "note.txt").text == text


@pytest.mark.parametrize(
    ("encoding", "said"), [("koi8-r", "KOI8-R"), ("utf-8", "latin-1"), ("utf-16-le", "utf-16le"), ("cp1251", "koi8-x")]
)
def test_what_the_source_says_of_the_encoding_is_believed_when_it_can_be_true(encoding: str, said: str) -> None:
    text = "Добрый день, дорогие друзья. Сегодня хорошая погода, и мы пойдем гулять в парк."
    assert parse(text.encode(encoding), "a.txt", said).text == text


@pytest.mark.parametrize("said", ["hex", "utf-16", "no-such", "ascii"])
def test_what_the_source_cannot_mean_is_passed_over(said: str) -> None:
    assert parse(b"Plain words in ASCII", "a.txt", said).text == "Plain words in ASCII"


@pytest.mark.parametrize("words", ["Grüße", "Café", "Größe und Maß", "señor mañana"])
def test_a_few_western_words_are_told_from_other_scripts(words: str) -> None:
    assert parse(words.encode("cp1252"), "a.txt").text == words


def test_latin_1_is_read_as_browsers_do() -> None:
    assert parse("“quoted” 5 €".encode("cp1252"), "a.txt", "iso-8859-1").text == "“quoted” 5 €"
