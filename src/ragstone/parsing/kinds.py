"""What kind of thing some bytes are: by their first bytes, then by the suffix of their name."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from ragstone.errors import DocumentError, EncryptedDocument, UnsupportedDocument
from ragstone.parsing.archive import Archive

BinaryKind = Literal["pdf", "docx", "pptx", "xlsx", "epub", "mail", "text"]
TextKind = Literal["markdown", "html", "csv", "json", "jsonl", "paragraph", "code"]
"""The last two are plain text, named after the kind of its blocks."""

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"RIFF", "a RIFF file (WebP, WAV or AVI)"),
    (b"ID3", "MP3 audio"),
    (b"OggS", "Ogg audio or video"),
    (b"fLaC", "FLAC audio"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"BZh", "bzip2-compressed data"),
    (b"\xfd7zXZ\x00", "xz-compressed data"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x7fELF", "an ELF program"),
    (b"MZ", "a Windows program"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O program"),
    (b"\xca\xfe\xba\xbe", "a Java class or a Mach-O program"),
    (b"\x00asm", "a WebAssembly module"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"\x00\x01\x00\x00", "a TrueType font"),
    (b"OTTO", "an OpenType font"),
    (b"wOFF", "a web font"),
    (b"wOF2", "a web font"),
)

ZIP = b"PK\x03\x04"
ZIP_MEMBERS: tuple[tuple[str, BinaryKind], ...] = (
    (r"word/document\d*\.xml", "docx"),
    (r"ppt/presentation\d*\.xml", "pptx"),
    (r"xl/workbook\d*\.xml", "xlsx"),
    (r"META-INF/container\.xml", "epub"),
)
UNREAD_ZIP_MEMBERS: tuple[tuple[str, str, str], ...] = (
    ("xl/workbook.bin", "a binary Excel workbook (.xlsb)", "save it as .xlsx"),
    ("content.xml", "an OpenDocument file", "save it as .docx, .xlsx or .pptx"),
    ("index/document.iwa", "a file of Pages, Numbers or Keynote", "export it as .docx, .xlsx or .pptx"),
)

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
OLE_STREAMS: tuple[tuple[str, str, str], ...] = (
    ("__nameid_version1.0", "an Outlook message (.msg)", "save it as .eml"),
    ("WordDocument", "an old Word document (.doc)", "save it as .docx"),
    ("PowerPoint Document", "an old PowerPoint presentation (.ppt)", "save it as .pptx"),
    ("Workbook", "an old Excel workbook (.xls)", "save it as .xlsx"),
    ("Book", "an old Excel workbook (.xls)", "save it as .xlsx"),
)
"""Names of streams in an OLE2 container, and what they tell of it."""

HTML = frozenset({".html", ".htm", ".xhtml"})
MAIL = frozenset({".eml", ".mht", ".mhtml"})
TEXT_KINDS: dict[str, TextKind] = {
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd", ".mdx"), "markdown"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    ".json": "json",
}
CODE_SUFFIXES = """
    .bash .bat .c .cc .cfg .clj .cpp .cs .css .cxx .dart .ex .exs .go .gradle .groovy .h .hpp .hs .ini .java .jl .js
    .jsx .kt .kts .less .lisp .lua .m .mjs .ml .nix .php .pl .proto .ps1 .py .pyi .r .rb .rs .scala .scss
    .sh .sql .svelte .swift .tf .toml .ts .tsx .vue .xml .yaml .yml .zig
"""
CODE = frozenset(CODE_SUFFIXES.split())

_HEADER = re.compile(rb"^([!-9;-~]+):[ \t]", re.M)
_MAIL_HEADER = re.compile(
    rb"from|to|cc|date|subject|message-id|received|return-path|mime-version|reply-to|delivered-to|dkim-signature"
)
_HTML_START = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)


def binary_kind(data: bytes, name: str) -> BinaryKind:
    """How to read the bytes. Raises UnsupportedDocument for other known kinds, and EncryptedDocument."""
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    if data.startswith(ZIP):
        return _zip_kind(data, name)
    if data.startswith(OLE):
        raise _old_office(data, name)
    _refuse_signatures(data, name)
    if suffix(name) in MAIL or (suffix(name) not in TEXT_KINDS.keys() | CODE | HTML and _is_mail(data)):
        return "mail"
    return "pdf" if suffix(name) == ".pdf" and not _HTML_START.match(data[:1024].decode("latin-1")) else "text"


def text_kind(text: str, name: str) -> TextKind:
    """How to read a text. What is taken for JSON may still turn out to be none."""
    ending = suffix(name)
    if ending in HTML or (ending not in TEXT_KINDS.keys() | CODE and _HTML_START.match(text[:4096])):
        return "html"
    if ending in TEXT_KINDS:
        return TEXT_KINDS[ending]
    if ending in CODE:
        return "code"
    return "json" if _has_brackets(text) else "paragraph"


def suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _zip_kind(data: bytes, name: str) -> BinaryKind:
    members = Archive(data, name).names
    for pattern, kind in ZIP_MEMBERS:
        if any(re.fullmatch(pattern, member) for member in members):
            return kind
    lowered = {member.lower() for member in members}
    for member, what, hint in UNREAD_ZIP_MEMBERS:
        if member in lowered:
            raise UnsupportedDocument(f"{name} is {what}", hint=hint)
    raise _unsupported(name, "a ZIP archive")


def _old_office(data: bytes, name: str) -> DocumentError:
    if "EncryptedPackage".encode("utf-16-le") in data:
        return EncryptedDocument(f"{name} needs a password", hint="save a copy without one")
    for stream, what, hint in OLE_STREAMS:
        if f"{stream}\0".encode("utf-16-le") in data:
            return UnsupportedDocument(f"{name} is {what}", hint=hint)
    return _unsupported(name, "a file of an old Windows program (OLE2)")


def _refuse_signatures(data: bytes, name: str) -> None:
    if data[4:8] == b"ftyp":
        raise _unsupported(name, "MP4 video or audio, or a HEIC image")
    for signature, kind in SIGNATURES:
        if data.startswith(signature) and (len(signature) > 3 or _has_controls(data)):
            raise _unsupported(name, kind)


def _is_mail(data: bytes) -> bool:
    """Whether it begins with header lines, three of them such as only a mail has, one of them From."""
    lines = re.split(rb"\r?\n\r?\n", data[:65536].lstrip(), maxsplit=1)[0].splitlines()
    names = [match[1].lower() for line in lines if (match := _HEADER.match(line))]
    folded = sum(line.startswith((b" ", b"\t")) for line in lines)
    known = {name for name in names if _MAIL_HEADER.fullmatch(name)}
    return len(names) + folded == len(lines) and b"from" in known and len(known) >= 3


def _has_brackets(text: str) -> bool:
    """As every JSON object and array has."""
    shell = text[:64].lstrip()[:1] + text[-64:].rstrip()[-1:]
    return shell in {"{}", "[]"}


def _has_controls(data: bytes) -> bool:
    """Short signatures are also how a text may begin ("BMW", "MZ"): binary files soon hold a control character."""
    return any(byte < 9 for byte in data[:64])


def _unsupported(name: str, kind: str) -> UnsupportedDocument:
    return UnsupportedDocument(
        f"{name} seems to be {kind}",
        hint="text, source code, Markdown, HTML, PDF, office files, e-books, mails, CSV and JSON can be read; "
        "exclude the rest",
    )
