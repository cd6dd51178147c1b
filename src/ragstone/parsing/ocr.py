"""Scanned pages, read by the program tesseract: only when asked for, because it takes seconds a page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pypdfium2 as pdfium

from ragstone.errors import BrokenDocument, EmptyDocument, UnsupportedDocument
from ragstone.models import Document
from ragstone.parsing.pdf import pdfium_lock
from ragstone.parsing.writer import Writer

PROGRAM = "tesseract"
INSTALL = "install it (Debian, Ubuntu: apt-get install tesseract-ocr; macOS: brew install tesseract)"
INSTALL_LANGUAGES = "install the language (Debian, Ubuntu: tesseract-ocr-deu …), or set parsing.ocr_languages"

RESOLUTION = 300
"""Dots an inch: what tesseract is trained on."""

MOST_PIXELS = 40_000_000
"""Of a page; a larger one, such as a poster, is read in less detail."""

POINTS_AN_INCH = 72

_PARAGRAPHS = re.compile(r"\n\s*\n")


def parse_scan(data: bytes, name: str, languages: str) -> Document:
    """The words on the pages of a PDF, taken as pictures. `languages` as tesseract has them: `eng`, `eng+deu`.

    Raises EmptyDocument when no word can be read, UnsupportedDocument when tesseract or a language is missing.
    """
    program = _find_program(f"{name} is a scan")
    writer = Writer()
    page_starts: list[int] = []
    for number in range(_page_count(data, name)):
        page_starts.append(writer.next_start)
        for paragraph in _PARAGRAPHS.split(_recognised(program, _picture(data, name, number), languages, name)):
            writer.block("paragraph", paragraph.strip())
    if not writer.blocks:
        raise EmptyDocument(f"{name} has only pictures, and no words were made out in them")
    return writer.document(media_type="application/pdf", metadata={"ocr": languages}, page_starts=page_starts)


def _find_program(what: str) -> str:
    program = shutil.which(PROGRAM)
    if program is None:
        raise UnsupportedDocument(f"{what}, and the program tesseract is not there", hint=INSTALL)
    return program


def installed_languages() -> frozenset[str]:
    """Those that tesseract can read. Raises UnsupportedDocument when it is not there."""
    listed = subprocess.run(  # noqa: S603 - a fixed program
        [_find_program("parsing.ocr is on"), "--list-langs"], capture_output=True, check=False, text=True
    )
    return frozenset(line.strip() for line in listed.stdout.splitlines()[1:])


def _page_count(data: bytes, name: str) -> int:
    with pdfium_lock, pdfium.PdfDocument(data) as pdf:
        return len(pdf)


def _picture(data: bytes, name: str, number: int) -> bytes:
    """A page in grey, in the simplest of formats (PGM)."""
    try:
        with pdfium_lock, pdfium.PdfDocument(data) as pdf:
            page = pdf[number]
            inches = page.get_width() * page.get_height() / POINTS_AN_INCH**2
            resolution = min(RESOLUTION, (MOST_PIXELS / max(inches, 1e-6)) ** 0.5)
            bitmap = page.render(scale=resolution / POINTS_AN_INCH, grayscale=True)
            pixels: bytes = bitmap.to_numpy()[:, : bitmap.width].tobytes()
            return b"P5 %d %d 255\n" % (bitmap.width, bitmap.height) + pixels
    except pdfium.PdfiumError as error:
        raise BrokenDocument(f"{name} is damaged: page {number + 1} cannot be drawn ({error})") from error


def _recognised(program: str, picture: bytes, languages: str, name: str) -> str:
    done = subprocess.run(  # noqa: S603 - a fixed program; the languages are checked where they are set
        [program, "stdin", "stdout", "-l", languages],
        input=picture,
        capture_output=True,
        check=False,
        env=os.environ | {"OMP_THREAD_LIMIT": "1"},  # its threads wait for each other more than they work
    )
    if done.returncode == 0:
        return done.stdout.decode("utf-8", errors="replace")
    said = " ".join(done.stderr.decode("utf-8", errors="replace").split())
    if "traineddata" in said or "language" in said:
        raise UnsupportedDocument(
            f"{name} is a scan, and tesseract cannot read {languages}",
            hint=INSTALL_LANGUAGES,
        )
    raise BrokenDocument(f"{name} cannot be read by tesseract: {said[:200]}")
