"""E-mail messages (RFC 5322): subject, who wrote to whom and when, the body; attachments are only named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart

from ragstone.errors import BrokenDocument, EncryptedDocument
from ragstone.models import Document
from ragstone.parsing import html
from ragstone.parsing.decoding import clean, decode
from ragstone.parsing.writer import Writer

MEDIA_TYPE = "message/rfc822"
SHOWN = ("From", "To", "Cc", "Date")
TEXTS = {"text/plain", "text/html"}
ENCRYPTED = {"multipart/encrypted", "application/pgp-encrypted"}

_PARAGRAPHS = re.compile(r"\n\s*\n")


def parse(data: bytes, name: str) -> Document:
    """All texts that are shown, of alternatives the plain one. Raises EncryptedDocument, or BrokenDocument."""
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
    texts = _texts(message)
    for part in texts:
        _write(writer, part, name)
    attached = [_name(part) for part in message.iter_attachments() if not _holds(part, texts)]
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


def _texts(part: MIMEPart) -> list[MIMEPart]:
    """The parts that a mail program shows, those with no words left out. Of alternatives it shows one."""
    kind = part.get_content_type()
    below = [_texts(inner) for inner in part.iter_parts()] if kind.startswith("multipart/") else []
    if kind == "multipart/alternative":
        plain = (texts for texts in below if any(text.get_content_type() == "text/plain" for text in texts))
        return next(plain, next(filter(None, below), []))
    if below:
        return [text for texts in below for text in texts]
    is_text = kind in TEXTS and not part.is_attachment() and part.get_filename() is None
    return [part] if is_text and _payload(part).strip() else []


def _payload(part: MIMEPart) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _write(writer: Writer, part: MIMEPart, name: str) -> None:
    text = decode(_payload(part), name, part.get_content_charset())
    if part.get_content_type() == "text/html":
        html.write_body(writer, text, name)
    else:
        for paragraph in _PARAGRAPHS.split(text):
            writer.block("paragraph", paragraph.strip("\n").rstrip())


def _holds(part: MIMEPart, texts: Sequence[MIMEPart]) -> bool:
    return any(inner is text for inner in part.walk() for text in texts)


def _name(part: MIMEPart) -> str:
    return _words(part.get_filename() or part.get_content_type())


def _words(value: object) -> str:
    return " ".join(clean(str(value)).split())
