"""E-mail messages (RFC 5322): subject, who wrote to whom and when, the body; attachments are only named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage

from ragstone.errors import BrokenDocument, EncryptedDocument
from ragstone.models import Document
from ragstone.parsing import html
from ragstone.parsing.decoding import clean, decode
from ragstone.parsing.writer import Writer

MEDIA_TYPE = "message/rfc822"
SHOWN = ("From", "To", "Cc", "Date")
ENCRYPTED = {"multipart/encrypted", "application/pgp-encrypted"}

_PARAGRAPHS = re.compile(r"\n\s*\n")


def parse(data: bytes, name: str) -> Document:
    """The plain body, or else the HTML one. Raises EncryptedDocument, or BrokenDocument."""
    try:
        return _read(message_from_bytes(data.lstrip(), policy=policy.default), name)
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # The email package lets out what its own code stumbles over.
        raise BrokenDocument(f"{name} cannot be read as a mail: {type(error).__name__}: {error}") from error


def _read(message: EmailMessage, name: str) -> Document:
    if message.get_content_type() in ENCRYPTED or message.get_param("smime-type") == "enveloped-data":
        raise EncryptedDocument(f"{name} is an encrypted mail", hint="save it from the mail program, decrypted")
    headers = {header: words for header in SHOWN if (words := _words(message[header] or ""))}
    writer = Writer()
    writer.block("paragraph", "\n".join(f"{header}: {value}" for header, value in headers.items()))
    _write_body(writer, message, name)
    attached = [_words(part.get_filename() or part.get_content_type()) for part in message.iter_attachments()]
    writer.block("paragraph", f"Attachments (not read): {', '.join(attached)}" if attached else "")
    return writer.document(
        media_type=MEDIA_TYPE,
        title=_words(message["Subject"] or ""),
        metadata={header.lower(): value for header, value in _values(message, headers)},
    )


def _values(message: EmailMessage, headers: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Dates in ISO 8601, where they are dates."""
    for header, value in headers.items():
        moment = getattr(message[header], "datetime", None) if header == "Date" else None
        yield header, moment.isoformat() if moment else value


def _write_body(writer: Writer, message: EmailMessage, name: str) -> None:
    for kind in ("plain", "html"):
        part = message.get_body(preferencelist=(kind,))
        payload = part.get_payload(decode=True) if part is not None else None
        if part is None or not isinstance(payload, bytes) or not payload.strip():
            continue
        text = decode(payload, name, part.get_content_charset())
        if kind == "html":
            html.write_body(writer, text, name)
        else:
            for paragraph in _PARAGRAPHS.split(text):
                writer.block("paragraph", paragraph.strip("\n").rstrip())
        return


def _words(value: object) -> str:
    return " ".join(clean(str(value)).split())
