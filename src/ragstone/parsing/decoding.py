"""Bytes → text that PostgreSQL and JSON accept."""

from __future__ import annotations

import codecs
import re

from ragstone.errors import UnsupportedDocument

COMMONEST = "cp1252"  # Western European, of Windows and of most old web pages
SAMPLE = 64 * 1024
"""How much is looked at to tell an encoding; enough for any detector, and quick."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"""<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*["']?\s*([\w:.-]+)""", re.I)
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c]")
_REFUSED = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")


def decode(data: bytes, name: str, charset: str | None = None) -> str:
    """The text in these bytes, in whatever encoding. Raises UnsupportedDocument for what is no text.

    `charset`: what their source says; it is believed when it can be true.
    """
    text = _decode(data, charset)
    if text is None or _looks_binary(text):
        raise UnsupportedDocument(f"{name} seems to be binary data", hint="exclude it, or name its kind by its suffix")
    return clean(text)


def clean(text: str) -> str:
    r"""Line ends become `\n`; control characters and lone surrogates go."""
    return _REFUSED.sub("", _LINE_ENDS.sub("\n", text))


def _decode(data: bytes, charset: str | None) -> str | None:
    """What is UTF-8 with more than ASCII in it is nothing else; for the rest the source's word comes first."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data.decode(encoding, errors="replace")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _as_said(data, charset) or _as_declared(data) or _as_guessed(data)
    return (_as_said(data, charset) if text.isascii() else None) or text


def _as_said(data: bytes, charset: str | None) -> str | None:
    """None when the bytes are not in this encoding, or nobody named one."""
    try:
        encoding = codecs.lookup(charset).name if charset else ""
        encoding = COMMONEST if encoding in {"ascii", "iso8859-1"} else encoding  # as all browsers have it
        wide = encoding.startswith(("utf-16", "utf-32"))
        return data.decode(encoding) if encoding and wide == (b"\0" in data) else None
    except (LookupError, UnicodeError):
        return None


def _as_declared(data: bytes) -> str | None:
    """Read in the encoding that an HTML or XML head names; None for one that Python cannot read text in."""
    match = _DECLARED.search(data[:2048])
    try:
        return data.decode(match[1].decode("ascii"), errors="replace") if match else None
    except (LookupError, UnicodeError):
        return None


def _as_guessed(data: bytes) -> str | None:
    from charset_normalizer import from_bytes

    guesses = from_bytes(data[:SAMPLE])
    best = guesses.best()
    if best is None:
        return None
    # A short text suits many encodings equally well; the commonest of them is then the likeliest.
    equal = [g for g in guesses if g.chaos <= best.chaos and g.coherence >= best.coherence]
    encoding = COMMONEST if any(COMMONEST in g.could_be_from_charset for g in equal) else best.encoding
    return data.decode(encoding, errors="replace")


def _looks_binary(text: str) -> bool:
    sample = text[:SAMPLE]
    odd = len(_REFUSED.findall(sample)) + sample.count("\ufffd")
    return odd * 20 > len(sample)
