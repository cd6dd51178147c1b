"""Sources as they stand in a prompt: numbered, described, and fenced so that their text stays data."""

from __future__ import annotations

import re

from ragstone.models import Passage

# Invisible characters that can hide a delimiter or a whole message from people: zero-width spaces and joiners that no
# script needs, direction overrides, and the Unicode tag block.
_INVISIBLE = re.compile("[\u200b\u2060-\u2064\ufeff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")

# What could close a fence, or be taken for the start of a turn by a chat template: our own tags and the control tokens
# of the common model families, written out as text.
_DELIMITER = re.compile(
    r"""
      <(?= \s* (?:/\s*)? source\b )
    | <(?= \| [^|<>\n]{1,40} \|> | ｜ [^｜<>\n]{1,40} ｜> )
    | <(?= /?s> | (?:bos|eos|pad|unk)> | (?:start|end)_of_\w{1,20}> | </?SYS>> )
    | \[(?= /?INST\] )
    """,
    re.IGNORECASE | re.VERBOSE,
)


def neutral(text: str) -> str:
    """The text with every delimiter's first character written as an HTML entity, and without invisible characters."""
    return _DELIMITER.sub(lambda match: f"&#{ord(match[0])};", _INVISIBLE.sub("", text))


def fenced(passage: Passage) -> str:
    """One source: where it comes from, a line each, then its text."""
    described = "\n".join(f"{name}: {_one_line(value)}" for name, value in _description(passage) if value)
    return f'<source number="{passage.number}">\n{described}\n\n{neutral(passage.text)}\n</source>'


def _description(passage: Passage) -> tuple[tuple[str, str], ...]:
    return (
        ("Title", passage.title),
        ("Section", " > ".join(passage.path)),
        ("Pages", "–".join(str(page) for page in dict.fromkeys(passage.pages or ()))),
        ("URI", passage.uri),
        ("Date", passage.modified_at.date().isoformat() if passage.modified_at else ""),
    )


def _one_line(text: str) -> str:
    return neutral(" ".join(text.split()))
