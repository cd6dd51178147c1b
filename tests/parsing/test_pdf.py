from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from fpdf import FPDF
from PIL import Image

from ragstone.errors import BrokenDocument, EmptyDocument, EncryptedDocument
from ragstone.models import Document
from ragstone.parsing.parse import parse

MANUAL = Path(__file__).parents[2] / "examples" / "handbook" / "docs" / "field-work.pdf"


def picture() -> BytesIO:
    made = BytesIO()
    Image.new("L", (40, 40), 90).save(made, "PNG")
    return made


@pytest.fixture(scope="module")
def manual() -> Document:
    return parse(MANUAL.read_bytes(), "field-work.pdf")


def pdf(write: Callable[[FPDF], None]) -> bytes:
    made = FPDF()
    made.set_font("helvetica", size=12)
    write(made)
    return bytes(made.output())


def page(lines: str, size: int = 12) -> Callable[[FPDF], None]:
    def write(made: FPDF) -> None:
        made.add_page()
        made.set_font("helvetica", size=size)
        made.multi_cell(0, 6, lines, new_x="LMARGIN", new_y="NEXT")

    return write


def test_pages_begin_where_their_text_does(manual: Document) -> None:
    assert len(manual.page_starts) == 3
    assert manual.text[manual.page_starts[1] :].startswith("2.3 What to take along")
    assert manual.text[manual.page_starts[2] :].startswith("3.3 Animals and neighbours")


def test_sections_come_from_the_outline(manual: Document) -> None:
    paths = [section.path for section in manual.sections]
    assert ("2 Before you leave", "2.2 Weather limits") in paths
    section = manual.sections[paths.index(("3 On site", "3.1 Masts and ladders"))]
    assert manual.text[section.start :].startswith("3.1 Masts and ladders")
    headings = [manual.text[block.start : block.end] for block in manual.blocks if block.kind == "heading"]
    assert headings == [path[-1] for path in paths if path]


def test_running_headers_and_page_numbers_are_dropped(manual: Document) -> None:
    assert "edition 7" not in manual.text
    assert "Page 2" not in manual.text


def test_bare_page_numbers_are_dropped_but_not_all_that_a_short_page_has() -> None:
    def write(made: FPDF) -> None:
        for number in ("1", "2"):
            page(f"Five lines\nstand\non\nthis\npage\n{number}")(made)

    assert parse(pdf(write), "a.pdf").text == "\n\n".join(["Five lines\nstand\non\nthis\npage"] * 2)

    def write_short(made: FPDF) -> None:
        for _ in range(4):
            page("The same slide")(made)

    assert parse(pdf(write_short), "a.pdf").text == "\n\n".join(["The same slide"] * 4)


def test_the_title_is_in_the_metadata_or_the_largest_line(manual: Document) -> None:
    assert manual.title == "Field work safety"

    def write(made: FPDF) -> None:
        page("Large words", 24)(made)
        made.set_font("helvetica", size=10)
        made.multi_cell(0, 6, "Small words that follow, and there are many more of them than of the large ones.")

    assert parse(pdf(write), "a.pdf").title == "Large words"
    assert parse(pdf(page("All words\nare of\none size")), "a.pdf").title == "a.pdf"


def test_lines_stay_and_paragraphs_stand_apart() -> None:
    document = parse(pdf(page("First line\nsecond line\nthird line\n\nNext paragraph\nhas two lines")), "a.pdf")
    assert document.text == "First line\nsecond line\nthird line\n\nNext paragraph\nhas two lines"


def test_divided_words_are_mended() -> None:
    text = parse(pdf(page("This is a diffi-\ncult word, and\nsomething else. A well-\nKnown name")), "a.pdf").text
    assert "This is a difficult\nword, and\nsomething else. A well-Known" in text
    assert "diffi-" not in text


def test_a_password_is_asked_for() -> None:
    def write(made: FPDF) -> None:
        page("Secret")(made)
        made.set_encryption(owner_password="owner", user_password="user")

    with pytest.raises(EncryptedDocument, match=r"a\.pdf needs a password"):
        parse(pdf(write), "a.pdf")


def test_a_pdf_that_opens_without_a_password_is_read() -> None:
    def write(made: FPDF) -> None:
        page("Open to all")(made)
        made.set_encryption(owner_password="owner")

    assert parse(pdf(write), "a.pdf").text == "Open to all"


def test_a_scan_is_told_from_a_page_without_anything() -> None:
    def write(made: FPDF) -> None:
        made.add_page()
        made.image(picture(), x=20, y=20, w=100)

    with pytest.raises(EmptyDocument, match=r"a\.pdf seems to be scanned") as raised:
        parse(pdf(write), "a.pdf")
    assert "OCR" in raised.value.hint
    with pytest.raises(EmptyDocument, match="no text on its pages"):
        parse(pdf(lambda made: made.add_page()), "a.pdf")


def test_scanned_pages_among_others_are_named() -> None:
    def write(made: FPDF) -> None:
        page("Words")(made)
        made.add_page()
        made.image(picture(), x=20, y=20, w=100)

    assert parse(pdf(write), "a.pdf").metadata == {"scanned_pages": [2]}


@pytest.mark.parametrize("data", [b"%PDF-1.7\n", b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF", MANUAL.read_bytes()[:900]])
def test_a_damaged_file_is_called_damaged(data: bytes) -> None:
    with pytest.raises(BrokenDocument, match="damaged"):
        parse(data, "a.pdf")


def test_text_named_pdf_is_no_pdf() -> None:
    with pytest.raises(BrokenDocument):
        parse(b"just some words", "a.pdf")


def written(*objects: bytes) -> bytes:
    """A PDF of these objects, numbered from 1, the first of which is its catalog."""
    out, starts = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        starts.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    size = len(objects) + 1
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + trailer


@pytest.mark.parametrize("kids", [b"3 0 R", b"2 0 R 2 0 R"])
def test_a_million_pages_that_are_not_there_are_not_tried(kids: bytes) -> None:
    page_tree = b"<</Type/Pages/Count 1000000/Kids[%b]>>" % kids
    data = written(b"<</Type/Catalog/Pages 2 0 R>>", page_tree, b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>")
    with pytest.raises(BrokenDocument, match="of its 1000000 pages cannot be read"):
        parse(data, "a.pdf")


def test_a_million_times_the_same_empty_page_is_soon_given_up() -> None:
    page_tree = b"<</Type/Pages/Count 1000000/Kids[%b]>>" % (b"3 0 R " * 1_000_000)
    data = written(b"<</Type/Catalog/Pages 2 0 R>>", page_tree, b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>")
    with pytest.raises(EmptyDocument, match="no text on its pages"):
        parse(data, "a.pdf")


@pytest.mark.parametrize(("stored", "title"), [("plan.graffle", "Large words"), ("Rust in Action", "Rust in Action")])
def test_a_file_name_is_no_title(stored: str, title: str) -> None:
    def write(made: FPDF) -> None:
        made.set_title(stored)
        page("Large words", size=24)(made)
        made.set_font("helvetica", size=12)
        made.multi_cell(0, 6, "Small words of text that go on. " * 20)

    assert parse(pdf(write), "a.pdf").title == title
