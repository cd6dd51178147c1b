"""A document's fields in the two forms that every engine can filter by: words of a set, and numbers by name.

A word says that a field has a value (`["tags","python"]`) or that it has one at all (`["tags"]`). A number is a number
or the moment of a date: `n_price`, `d_modified_at`.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from ragstone.models import Fields, Scalar

LONGEST = 200
"""Characters of a value that a term holds as it is; of a longer one it holds the digest."""

HUGE = 1e300
"""Numbers beyond it are found by their value only, not by a range: not every engine stores them."""

_PLAIN = re.compile(r"[A-Za-z0-9_]{1,60}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")


@dataclass(frozen=True, slots=True)
class Terms:
    """What is stored of a document's fields with each of its points."""

    words: tuple[str, ...]
    numbers: dict[str, list[float]]


def terms(fields: Fields) -> Terms:
    """The fields as every engine stores them; numbers and moments sorted, everything once."""
    words: set[str] = set()
    numbers: dict[str, set[float]] = {}
    for name, values in fields.items():
        words.add(has(name))
        for value in values:
            words.add(equals(name, value))
            if isinstance(value, str):
                if (at := moment(value)) is not None:
                    numbers.setdefault(moment_key(name), set()).add(at)
            elif not isinstance(value, bool) and abs(value) < HUGE:
                numbers.setdefault(number_key(name), set()).add(float(value))
    return Terms(tuple(sorted(words)), {key: sorted(values) for key, values in numbers.items()})


def has(name: str) -> str:
    """The term of every document that has the field."""
    return _json([name])


def equals(name: str, value: Scalar) -> str:
    """The term of every document that has the value. 2 and 2.0 are one; 1 and true are not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and len(value) > LONGEST:
        return _json([name, hashlib.sha256(value.encode("utf-8", "replace")).hexdigest(), 0])
    return _json([name, value])


def moment(text: str) -> float | None:
    """Seconds since 1970 of an ISO 8601 date or time; without a zone it is UTC. None when the text is none."""
    if not _DATE.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def number_key(name: str) -> str:
    return "n_" + _safe(name)


def moment_key(name: str) -> str:
    return "d_" + _safe(name)


def _safe(name: str) -> str:
    """A name that no engine takes for a path or refuses: letters, digits and underscores."""
    return name if _PLAIN.fullmatch(name) else "_" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:24]


def _json(value: list[Scalar]) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
