"""What kind of thing some bytes are: by their first bytes, then by the suffix of their name."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from ragstone.errors import UnsupportedDocument

TextKind = Literal["markdown", "html", "paragraph", "code", "table"]
"""The last three are plain text, named after the kind of its blocks."""

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP container (an archive, an office file or an e-book)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old office file (OLE2)"),
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

MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx"})
HTML = frozenset({".html", ".htm", ".xhtml"})
TABLE = frozenset({".csv", ".tsv"})
CODE_SUFFIXES = """
    .bash .bat .c .cc .cfg .clj .cpp .cs .css .cxx .dart .ex .exs .go .gradle .groovy .h .hpp .hs .ini .java .jl .js
    .json .jsonl .jsx .kt .kts .less .lisp .lua .m .mjs .ml .nix .php .pl .proto .ps1 .py .pyi .r .rb .rs .scala .scss
    .sh .sql .svelte .swift .tf .toml .ts .tsx .vue .xml .yaml .yml .zig
"""
CODE = frozenset(CODE_SUFFIXES.split())

_HTML_START = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)


def binary_kind(data: bytes, name: str) -> Literal["pdf", "text"]:
    """Whether to read the bytes as PDF or as text. Raises UnsupportedDocument for other known binary kinds."""
    if data[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    if data[4:8] == b"ftyp":
        raise _unsupported(name, "MP4 video or audio, or a HEIC image")
    for signature, kind in SIGNATURES:
        if data.startswith(signature) and (len(signature) > 3 or _has_controls(data)):
            raise _unsupported(name, kind)
    return "pdf" if suffix(name) == ".pdf" and not _HTML_START.match(data[:1024].decode("latin-1")) else "text"


def text_kind(text: str, name: str) -> TextKind:
    """How to read a text."""
    ending = suffix(name)
    if ending in HTML or (ending not in MARKDOWN | CODE and _HTML_START.match(text[:4096])):
        return "html"
    if ending in MARKDOWN:
        return "markdown"
    if ending in TABLE:
        return "table"
    return "code" if ending in CODE else "paragraph"


def suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _has_controls(data: bytes) -> bool:
    """Short signatures are also how a text may begin ("BMW", "MZ"): binary files soon hold a control character."""
    return any(byte < 9 for byte in data[:64])


def _unsupported(name: str, kind: str) -> UnsupportedDocument:
    return UnsupportedDocument(
        f"{name} seems to be {kind}", hint="text, source code, Markdown, HTML and PDF can be read; exclude the rest"
    )
