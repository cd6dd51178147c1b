from __future__ import annotations

from typing import Any

import docx
import pytest
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml

from parsing.office_files import blocks, changed, member, paths, saved
from ragstone.errors import BrokenDocument
from ragstone.parsing.parse import parse

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def read(document: Any) -> list[tuple[str, str]]:
    return blocks(parse(saved(document), "a.docx"))


def test_headings_are_sections() -> None:
    file = docx.Document()
    file.add_paragraph("Before")
    file.add_heading("One", 1)
    file.add_paragraph("Text")
    file.add_heading("Deep", 3)
    file.add_heading("Two", 1)
    document = parse(saved(file), "a.docx")
    assert paths(document) == [(), ("One",), ("One", "Deep"), ("Two",)]
    assert document.text == "Before\n\nOne\n\nText\n\nDeep\n\nTwo"
    assert document.title == "One"


def test_a_style_based_on_a_heading_is_one() -> None:
    file = docx.Document()
    file.styles.add_style("Chapter of ours", 1).base_style = file.styles["Heading 2"]
    file.add_paragraph("A chapter", "Chapter of ours")
    assert parse(saved(file), "a.docx").sections[0].level == 2


def test_the_title_is_the_one_people_see() -> None:
    file = docx.Document()
    file.core_properties.title = "Old template"
    file.core_properties.author = "Anna"
    file.add_paragraph("Text")
    assert parse(saved(file), "a.docx").title == "Old template"
    file.add_paragraph("The plan", "Title")
    document = parse(saved(file), "a.docx")
    assert (document.title, document.metadata) == ("The plan", {"author": "Anna"})


def test_lists_are_numbered_or_marked() -> None:
    file = docx.Document()
    for words in ("a", "b"):
        file.add_paragraph(words, "List Bullet")
    file.add_paragraph("between")
    for words in ("first", "second"):
        file.add_paragraph(words, "List Number")
    assert read(file) == [("list", "- a\n- b"), ("paragraph", "between"), ("list", "1. first\n2. second")]


def test_merged_cells_are_written_once() -> None:
    file = docx.Document()
    table = file.add_table(3, 3)
    for row in range(3):
        for column in range(3):
            table.cell(row, column).text = f"{row}{column}"
    wide, high = table.cell(0, 0).merge(table.cell(0, 1)), table.cell(1, 2).merge(table.cell(2, 2))
    wide.text, high.text = "wide", "high"
    assert read(file) == [("table", "wide | 02\n10 | 11 | high\n20 | 21")]


def test_a_table_in_a_table_is_text_of_its_cell() -> None:
    file = docx.Document()
    cell = file.add_table(1, 2).cell(0, 0)
    cell.add_table(1, 2).cell(0, 1).text = "inner"
    file.tables[0].cell(0, 1).text = "outer"
    assert [text.split() for _, text in read(file)] == [["inner", "|", "outer"]]


def test_lines_of_code_are_one_block() -> None:
    file = docx.Document()
    file.styles.add_style("Source Code", 1)
    for line in ("def f():", "    return 1"):
        file.add_paragraph(line, "Source Code")
    assert read(file) == [("code", "def f():\n    return 1")]


def test_headers_footers_and_contents_are_left_out() -> None:
    file = docx.Document()
    file.styles.add_style("toc 1", 1)
    file.add_paragraph("One ... 7", "toc 1")
    file.add_paragraph("Body")
    file.sections[0].header.paragraphs[0].text = "Running header"
    file.sections[0].footer.paragraphs[0].text = "Page 1"
    assert read(file) == [("paragraph", "Body")]


def test_changes_are_read_as_accepted_and_controls_are_opened() -> None:
    file = docx.Document()
    paragraph = file.add_paragraph("Kept")
    for tag, text in (("ins", " new"), ("del", " gone"), ("hyperlink", " link")):
        paragraph._p.append(parse_xml(f"<w:{tag} {W}><w:r><w:t xml:space='preserve'>{text}</w:t></w:r></w:{tag}>"))
    control = parse_xml(f"<w:sdt {W}><w:sdtContent><w:p><w:r><w:t>Controlled</w:t></w:r></w:p></w:sdtContent></w:sdt>")
    paragraph._p.addnext(control)
    assert read(file) == [("paragraph", "Kept new link"), ("paragraph", "Controlled")]


def test_a_text_box_is_read_once() -> None:
    file = docx.Document()
    box = "<w:txbxContent><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:txbxContent>"
    compatible = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    both = f"<mc:Choice>{box.format('Boxed')}</mc:Choice><mc:Fallback>{box.format('Boxed')}</mc:Fallback>"
    run = f"<w:r {W} {compatible}><mc:AlternateContent>{both}</mc:AlternateContent></w:r>"
    file.add_paragraph("Beside it")._p.append(parse_xml(run))
    assert read(file) == [("paragraph", "Beside it"), ("paragraph", "Boxed")]


def test_a_footnote_stands_where_it_is_called() -> None:
    file = docx.Document()
    run = file.add_paragraph("A claim").add_run()
    reference = OxmlElement("w:footnoteReference")
    reference.set(qn("w:id"), "2")
    run._r.append(reference)
    file.add_paragraph("Next")
    data = saved(file)
    relations = member(data, "word/_rels/document.xml.rels").replace(
        b"</Relationships>",
        b'<Relationship Id="rId99" Target="footnotes.xml" '
        b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"/></Relationships>',
    )
    notes = (
        f'<w:footnotes {W}><w:footnote w:id="2"><w:p><w:r><w:t>Its proof.</w:t></w:r></w:p></w:footnote></w:footnotes>'
    )
    document = parse(
        changed(data, {"word/_rels/document.xml.rels": relations, "word/footnotes.xml": notes.encode()}), "a.docx"
    )
    assert document.text == "A claim [Its proof.]\n\nNext"


@pytest.mark.parametrize(
    "variant",
    [b"ms-word.document.macroEnabled.main+xml", b"openxmlformats-officedocument.wordprocessingml.template.main+xml"],
)
def test_templates_and_files_with_macros_are_read(variant: bytes) -> None:
    file = docx.Document()
    file.add_paragraph("Text")
    data = saved(file)
    types = member(data, "[Content_Types].xml")
    types = types.replace(b"openxmlformats-officedocument.wordprocessingml.document.main+xml", variant)
    assert variant in types
    assert parse(changed(data, {"[Content_Types].xml": types}), "a.docm").text == "Text"


def test_a_damaged_part_is_called_damaged() -> None:
    data = changed(saved(docx.Document()), {"word/document.xml": b"<w:document>"})
    with pytest.raises(BrokenDocument, match=r"a\.docx is damaged"):
        parse(data, "a.docx")
