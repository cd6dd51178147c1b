"""Scans, read by the real tesseract."""

from __future__ import annotations

import shutil
from pathlib import Path

import pypdfium2 as pdfium
import pytest
from fpdf import FPDF

from ragstone.cli.checks import examine
from ragstone.errors import EmptyDocument, SettingsError, UnsupportedDocument
from ragstone.parsing.parse import parse
from ragstone.settings import Settings, load

needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="the program tesseract is not installed")


def scan(*pages: str) -> bytes:
    """A PDF whose pages are pictures of text, as a scanner makes them."""
    printed = FPDF()
    for page in pages:
        printed.add_page()
        printed.set_font("helvetica", size=16)
        printed.multi_cell(0, 9, page)
    scanned = FPDF()
    with pdfium.PdfDocument(bytes(printed.output())) as original:
        for picture in original:
            scanned.add_page()
            scanned.image(picture.render(scale=200 / 72).to_pil(), x=0, y=0, w=scanned.w)
    return bytes(scanned.output())


@needs_tesseract
def test_a_scan_is_read_when_asked_for() -> None:
    document = parse(scan("The lighthouse keeper\n\n wrote three letters", "Second page"), "scan.pdf", ocr="eng")
    assert "lighthouse keeper" in document.text
    assert document.text[document.page_starts[1] :].strip() == "Second page"
    assert document.metadata["ocr"] == "eng"
    assert [document.text[block.start : block.end] for block in document.blocks][-1] == "Second page"


def test_a_scan_is_left_unread_when_not() -> None:
    with pytest.raises(EmptyDocument, match="scan"):
        parse(scan("Words"), "scan.pdf")


@needs_tesseract
def test_pages_without_words_are_empty() -> None:
    with pytest.raises(EmptyDocument, match="no words"):
        parse(scan(""), "scan.pdf", ocr="eng")


@needs_tesseract
def test_text_is_taken_as_it_is_even_when_scans_are_read() -> None:
    made = FPDF()
    made.add_page()
    made.set_font("helvetica", size=12)
    made.multi_cell(0, 6, "Real text")
    document = parse(bytes(made.output()), "a.pdf", ocr="eng")
    assert document.text == "Real text"
    assert "ocr" not in document.metadata


@needs_tesseract
def test_a_language_that_is_not_installed_is_named() -> None:
    with pytest.raises(UnsupportedDocument, match="cannot read xyz") as raised:
        parse(scan("Words"), "scan.pdf", ocr="xyz")
    assert "parsing.ocr_languages" in raised.value.hint


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UnsupportedDocument, match=r"scan\.pdf is a scan, and the program tesseract is not there"
    ) as raised:
        parse(scan("Words"), "scan.pdf", ocr="eng")
    assert "apt-get install tesseract-ocr" in raised.value.hint


@pytest.mark.parametrize("languages", ["", "--psm 0", "eng deu", "eng+", "../eng"])
def test_languages_are_names(languages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_PARSING_OCR_LANGUAGES", languages)
    with pytest.raises(SettingsError, match="ocr_languages"):
        load()


@pytest.mark.parametrize(("languages", "ok"), [("eng", True), ("eng+xyz", False)])
@needs_tesseract
async def test_doctor_looks_at_it_when_it_is_on(languages: str, ok: bool, tmp_path: Path) -> None:
    found = await examine(unreachable(tmp_path, ocr=True, ocr_languages=languages))
    assert [finding.ok for finding in found if finding.what == "scans"] == [ok]


async def test_doctor_passes_it_by_when_it_is_off(tmp_path: Path) -> None:
    assert "scans" not in [finding.what for finding in await examine(unreachable(tmp_path))]


def unreachable(folder: Path, **parsing: bool | str) -> Settings:
    """Settings whose model and catalog are not there, so that looking at them takes no time."""
    return Settings.model_validate(
        {
            "data_dir": folder,
            "parsing": parsing,
            "database": {"url": "postgresql://nobody@127.0.0.1:9/none"},
            "embedding": {"provider": "openai", "model": "none", "base_url": "http://127.0.0.1:9/v1", "dimensions": 8},
        }
    )
