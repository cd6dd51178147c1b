"""YAML between two `---` lines at the top of a text."""

from __future__ import annotations

import math
import re
from datetime import date, time
from typing import Any

from ragstone.models import Metadata
from ragstone.parsing.decoding import clean

LONGEST = 16 * 1024
"""Characters; longer front matter is somebody's text."""

MOST_BRACKETS = 500
"""The YAML scanner's time grows with the square of their depth."""

MOST_BITS = 10_000
"""Python refuses to write an integer of more than 4,300 digits in decimals."""

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S | re.M)


def split(text: str) -> tuple[Metadata, str]:
    """The front matter's values, JSON-compatible, and the text after it. What is no YAML mapping stays text."""
    match = _FRONT_MATTER.match(text[:LONGEST])
    values = _read(match[1]) if match else None
    if match is None or values is None:
        return {}, text
    return values, text[match.end() :]


def _read(source: str) -> dict[str, Any] | None:
    import yaml

    if source.count("[") + source.count("{") > MOST_BRACKETS:
        return None
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(source)):
            return None  # an alias can stand for ever more text
        values = yaml.safe_load(source)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return None  # PyYAML lets out what its own code stumbles over, as in `!!bool maybe`
    if values is None:
        return {}
    return _json(values) if isinstance(values, dict) else None


def _json(value: Any) -> Any:
    """YAML knows dates, sets, bytes and infinities, and escapes for any character; JSON in a database does not."""
    match value:
        case dict():
            return {str(_json(key)): _json(each) for key, each in value.items()}
        case list() | tuple() | set():
            return [_json(each) for each in value]
        case date() | time():
            return value.isoformat()
        case float() if not math.isfinite(value):
            return str(value)
        case int() if value.bit_length() > MOST_BITS:
            return hex(value)
        case str():
            return clean(value)
        case int() | float() | None:
            return value
        case _:
            return str(value)
