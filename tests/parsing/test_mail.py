from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from parsing.office_files import blocks
from ragstone.errors import EncryptedDocument
from ragstone.parsing.parse import parse


def mail() -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Grüße aus Köln"
    message["From"] = "Änne <anne@example.org>"
    message["To"] = "bob@example.org"
    message["Date"] = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    return message


def test_a_mail_has_its_subject_as_title_and_says_who_wrote() -> None:
    message = mail()
    message.set_content("Liebe Grüße\n\nÄnne\n")
    document = parse(bytes(message), "saved message")
    assert document.title == "Grüße aus Köln"
    assert document.media_type == "message/rfc822"
    assert document.metadata == {
        "from": "Änne <anne@example.org>",
        "to": "bob@example.org",
        "date": "2026-01-02T03:04:00+00:00",
    }
    assert [text for _, text in blocks(document)] == [
        "From: Änne <anne@example.org>\nTo: bob@example.org\nDate: Fri, 02 Jan 2026 03:04:00 +0000",
        "Liebe Grüße",
        "Änne",
    ]


def test_the_plain_body_is_read_before_the_html_one() -> None:
    message = mail()
    message.set_content("Plain")
    message.add_alternative("<p>Marked up</p>", subtype="html")
    assert [text for _, text in blocks(parse(bytes(message), "a.eml"))][1:] == ["Plain"]


def test_an_html_body_keeps_its_structure() -> None:
    message = mail()
    message.set_content("<h2>News</h2><ul><li>one</li><li>two</li></ul><script>x</script>", subtype="html")
    assert blocks(parse(bytes(message), "a.eml"))[1:] == [("heading", "News"), ("list", "- one\n- two")]


def test_attachments_are_named_not_read() -> None:
    message = mail()
    message.set_content("See below")
    message.add_attachment(b"secret words", maintype="application", subtype="pdf", filename="Rechnung für März.pdf")
    text = parse(bytes(message), "a.eml").text
    assert text.endswith("Attachments (not read): Rechnung für März.pdf")
    assert "secret words" not in text


def test_text_after_an_attachment_is_read_too() -> None:
    message = mail()
    message.set_content("Before")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="plan.pdf")
    for words, subtype in (("After", "plain"), ("<p>At the <b>end</b></p>", "html")):
        message.add_attachment(words, subtype=subtype, disposition="inline")
    texts = [text for _, text in blocks(parse(bytes(message), "a.eml"))]
    assert texts[1:] == ["Before", "After", "At the end", "Attachments (not read): plan.pdf"]


def test_an_alternative_with_pictures_is_shown_when_the_plain_one_has_no_words() -> None:
    message = mail()
    message.set_content(" ")
    message.add_alternative("<p>Marked up</p>", subtype="html")
    message.get_payload()[1].add_related(b"GIF8", maintype="image", subtype="gif", cid="<a@b>")  # type: ignore[index, union-attr]
    assert [text for _, text in blocks(parse(bytes(message), "a.eml"))][1:] == ["Marked up"]


@pytest.mark.parametrize("charset", ["koi8-r", "no-such", "utf-8"])
def test_a_body_is_decoded_even_when_its_charset_is_wrong(charset: str) -> None:
    words = "Добрый день, дорогие друзья. Сегодня хорошая погода, и мы пойдем гулять."
    encoding = "koi8-r" if charset == "koi8-r" else "utf-8"
    head = f"From: a@b\nTo: c@d\nSubject: x\nContent-Type: text/plain; charset={charset}\n"
    data = f"{head}Content-Transfer-Encoding: 8bit\n\n".encode() + words.encode(encoding)
    assert words in parse(data, "a.eml").text


def test_an_encrypted_mail_says_so() -> None:
    data = b"From: a@b\nTo: c@d\nSubject: x\nContent-Type: multipart/encrypted; boundary=b\n\n--b--\n"
    with pytest.raises(EncryptedDocument):
        parse(data, "a.eml")


def test_headers_hold_only_what_a_database_takes() -> None:
    document = parse(b"From: a\0b <a@b>\nTo: \0\nSubject: x\0y\n\nText", "a.eml")
    assert (document.title, document.metadata) == ("xy", {"from": "ab <a@b>"})


@pytest.mark.parametrize(
    "text", ["From: here to there\nis a novel", "Subject: maths\n\nText", "To: do\nDate: never\nCc: none\n\nText"]
)
def test_words_with_a_colon_make_no_mail(text: str) -> None:
    assert parse(text.encode(), "note.txt").media_type == "text/plain"
