from __future__ import annotations

import pytest

from parsing.office_files import blocks, paths, zipped
from ragstone.errors import BrokenDocument, EncryptedDocument
from ragstone.parsing.parse import parse

CONTAINER = """<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
PACKAGE = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Sea</dc:title><dc:creator>A. Writer</dc:creator>
<dc:language>en</dc:language></metadata><manifest>
<item id="two" href="text/two.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="text/chapter%20one.xhtml" media-type="application/xhtml+xml"/>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="pic" href="a.png" media-type="image/png"/></manifest>
<spine><itemref idref="nav"/><itemref idref="one"/><itemref idref="two"/></spine></package>"""
NAV = """<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"><body>
<nav epub:type="toc"><ol><li><a href="text/chapter%20one.xhtml">The <i>first</i></a></li>
<li><a href="text/two.xhtml">Two</a></li></ol>
</nav></body></html>"""


def page(body: str) -> str:
    return f'<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>'


def book(**changes: str) -> bytes:
    members = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": PACKAGE,
        "OEBPS/nav.xhtml": NAV,
        "OEBPS/text/two.xhtml": page("<h1>Chapter Two</h1><p>The end&#46;</p>"),
        "OEBPS/text/chapter one.xhtml": page("<p>It was calm.</p>"),
    }
    return zipped({**members, **changes})


def test_chapters_are_read_in_the_order_of_the_spine() -> None:
    document = parse(book(), "sea.zip")
    assert blocks(document) == [
        ("heading", "The first"),
        ("paragraph", "It was calm."),
        ("heading", "Chapter Two"),
        ("paragraph", "The end."),
    ]
    assert paths(document) == [("The first",), ("Chapter Two",)]
    assert (document.title, document.media_type) == ("The Sea", "application/epub+zip")
    assert document.metadata == {"author": "A. Writer", "lang": "en"}


def test_an_older_table_of_contents_names_chapters_too() -> None:
    ncx = """<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>Calm</text></navLabel>
    <content src="text/chapter%20one.xhtml#start"/></navPoint></navMap></ncx>"""
    package = PACKAGE.replace(' properties="nav"', "").replace('<itemref idref="nav"/>', "")
    package = package.replace(
        'href="nav.xhtml" media-type="application/xhtml+xml"', 'href="toc.ncx" media-type="application/x-dtbncx+xml"'
    )
    document = parse(book(**{"OEBPS/book.opf": package, "OEBPS/toc.ncx": ncx}), "sea.epub")
    assert paths(document) == [("Calm",), ("Chapter Two",)]


def test_protected_chapters_are_told_from_scrambled_fonts() -> None:
    encryption = '<encryption><EncryptedData><CipherReference URI="{}"/></EncryptedData></encryption>'
    fonts = book(**{"META-INF/encryption.xml": encryption.format("OEBPS/font.otf")})
    assert parse(fonts, "sea.epub").title == "The Sea"
    with pytest.raises(EncryptedDocument, match="protected"):
        parse(book(**{"META-INF/encryption.xml": encryption.format("OEBPS/text/two.xhtml")}), "sea.epub")


def test_entities_are_refused() -> None:
    package = PACKAGE.replace("?>", '?><!DOCTYPE package [<!ENTITY a SYSTEM "file:///etc/passwd">]>', 1)
    with pytest.raises(BrokenDocument, match="entities"):
        parse(book(**{"OEBPS/book.opf": package.replace("The Sea", "&a;")}), "sea.epub")


@pytest.mark.parametrize(
    "changes",
    [
        {"META-INF/container.xml": "no XML"},
        {"META-INF/container.xml": CONTAINER.replace("book.opf", "other.opf")},
        {"OEBPS/book.opf": PACKAGE.replace("two.xhtml", "three.xhtml")},
    ],
)
def test_a_damaged_book_is_called_damaged(changes: dict[str, str]) -> None:
    with pytest.raises(BrokenDocument, match=r"sea\.epub is damaged"):
        parse(book(**changes), "sea.epub")
