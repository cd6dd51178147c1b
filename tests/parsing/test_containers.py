"""Containers: told apart by what is in them, and none can do more harm than to be refused."""

from __future__ import annotations

import struct
import sys
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from io import BytesIO

import docx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook  # type: ignore[import-untyped]
from pptx import Presentation

from parsing.office_files import changed, member, saved, zipped
from ragstone.errors import BrokenDocument, DocumentError, DocumentTooCostly, EncryptedDocument, UnsupportedDocument
from ragstone.parsing import archive
from ragstone.parsing.parse import parse

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)


def word(text: str = "Text") -> bytes:
    file = docx.Document()
    file.add_paragraph(text)
    return saved(file)


def workbook() -> bytes:
    file = Workbook()
    file.active.append(["name", "city"])
    file.active.append(["Anna", "Berlin"])
    return saved(file)


def slides() -> bytes:
    file = Presentation()
    file.slides.add_slide(file.slide_layouts[0]).shapes.title.text = "Title"
    return saved(file)


FILES = {"a.docx": word(), "a.xlsx": workbook(), "a.pptx": slides()}


@pytest.mark.parametrize("name", FILES)
def test_the_kind_is_told_by_the_members(name: str) -> None:
    assert parse(FILES[name], "download.bin").media_type == parse(FILES[name], name).media_type


@pytest.mark.parametrize(
    ("stream", "error", "words", "hint"),
    [
        ("EncryptedPackage", EncryptedDocument, "password", "without one"),
        ("WordDocument", UnsupportedDocument, "Word", ".docx"),
        ("PowerPoint Document", UnsupportedDocument, "PowerPoint", ".pptx"),
        ("Workbook", UnsupportedDocument, "Excel", ".xlsx"),
        ("__nameid_version1.0", UnsupportedDocument, "Outlook", ".eml"),
        ("Else", UnsupportedDocument, "OLE2", "exclude"),
    ],
)
def test_old_and_encrypted_files_say_what_to_do(stream: str, error: type[DocumentError], words: str, hint: str) -> None:
    with pytest.raises(error, match=words) as raised:
        parse(OLE + f"{stream}\0".encode("utf-16-le") + bytes(100), "a.docx")
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.txt": "text"}, "a ZIP archive"),
        ({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "<a/>"}, "OpenDocument"),
        ({"xl/workbook.bin": "x"}, "xlsb"),
    ],
)
def test_other_containers_are_named(members: dict[str, str], words: str) -> None:
    with pytest.raises(UnsupportedDocument, match=words):
        parse(zipped(members), "a.docx")


def test_a_container_that_declares_too_much_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "UNPACKED_LIMIT", 2**20)
    data = changed(FILES["a.docx"], {"word/more.xml": b" " * 2**20})
    assert len(data) < 2**17
    with pytest.raises(DocumentTooCostly, match="more than 1 MiB"):
        parse(data, "a.docx")


def test_the_members_of_a_container_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "UNPACKED_LIMIT", 2**20)
    data = changed(FILES["a.docx"], {f"word/more{number}.xml": b" " * 2**18 for number in range(4)})
    with pytest.raises(DocumentTooCostly, match="more than 1 MiB"):
        parse(data, "a.docx")


def test_a_container_that_lies_about_its_size_is_not_believed() -> None:
    """A member that says 10 bytes, with the checksum of its first 10, and holds much more."""
    whole = b" " * 2**27
    data = changed(FILES["a.docx"], {"word/more.xml": whole})
    for signature, place in ((b"PK\x01\x02", 16), (b"PK\x03\x04", 14)):
        at = _header(data, signature, b"word/more.xml")
        size = struct.unpack_from("<I", data, at + place + 4)[0]
        lie = struct.pack("<III", zlib.crc32(whole[:10]), size, 10)
        data = data[: at + place] + lie + data[at + place + 12 :]
    assert zipfile.ZipFile(BytesIO(data)).getinfo("word/more.xml").file_size == 10
    tracemalloc.start()
    assert parse(data, "a.docx").text == "Text"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**26


def _header(data: bytes, signature: bytes, name: bytes) -> int:
    at = data.find(signature)
    while name not in data[at : at + 46 + len(name)]:
        at = data.find(signature, at + 4)
    return at


@pytest.mark.parametrize("name", FILES)
def test_entities_are_refused(name: str) -> None:
    part = {"a.docx": "word/document.xml", "a.xlsx": "xl/workbook.xml", "a.pptx": "ppt/presentation.xml"}[name]
    content = member(FILES[name], part)
    head, _, rest = content.partition(b"?>")
    hostile = head + b'?><!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>' + rest
    with pytest.raises(BrokenDocument, match="entities"):
        parse(changed(FILES[name], {part: hostile}), name)


def test_an_encrypted_member_asks_for_a_password() -> None:
    data = bytearray(zipped({"word/document.xml": "<a/>", "[Content_Types].xml": "<a/>"}))
    for signature, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.find(signature) + flags] |= 1
    with pytest.raises(EncryptedDocument):
        parse(bytes(data), "a.docx")


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_damaged_container_is_a_typed_error_or_read(name: str, draw: st.DataObject) -> None:
    data = bytearray(FILES[name])
    for at in draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=20)):
        data[at] = draw.draw(st.integers(0, 255))
    with suppress(DocumentError):
        assert parse(bytes(data[: draw.draw(st.integers(len(data) // 2, len(data)))]), name).text


PIECES = (
    b"",
    b"<",
    b"</w:p>",
    b'"',
    b"\xff",
    b"-1",
    b"99999999999",
    b"<a/>",
    b"&x;",
    b"</row>",
    b"/",
    b"none",
    b"<!--",
)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damaged_parts_are_a_typed_error_or_read(name: str, draw: st.DataObject) -> None:
    with zipfile.ZipFile(BytesIO(FILES[name])) as container:
        part = draw.draw(st.sampled_from([each for each in container.namelist() if each.endswith((".xml", ".rels"))]))
    content = member(FILES[name], part)
    at = draw.draw(st.integers(0, len(content)))
    until = at + draw.draw(st.integers(0, 40))
    damaged = content[:at] + draw.draw(st.sampled_from(PIECES)) + content[until:]
    with suppress(DocumentError):
        assert parse(changed(FILES[name], {part: damaged}), name).text


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ragstone.parsing.docx", raising=False)
    monkeypatch.setitem(sys.modules, "docx", None)
    with pytest.raises(UnsupportedDocument, match="not installed") as raised:
        parse(FILES["a.docx"], "a.docx")
    assert raised.value.hint == "pip install 'ragstone[office]'"
