"""Everything that a point can be found by, as words of one set: Weaviate's filters on sets of words mean what ours do.

Its filters on lists of numbers do not: `gt 3 and lt 8` holds of (1, 10) there. So a number is stored as the prefixes of
16 hexadecimal digits that sort as the numbers do; a range is then the fewest prefixes that cover it, at most 450
(Schindler and Diepenbroek, Generic XML-based framework for metadata portals, 2008).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from uuid import UUID

from ragstone.index.filters import Range
from ragstone.index.terms import Terms

EVERY = "*"
"""Every point has this word, so that a filter can be put on all of them."""

DIGITS = 16
SLICES = 256


def of_point(stored: Terms, chunk_id: UUID) -> list[str]:
    """All words of a point. Those of its fields begin with a bracket, those of numbers with their name."""
    numbers = (word for key, values in stored.numbers.items() for value in values for word in _prefixes(key, value))
    return sorted({*stored.words, *numbers, EVERY, _slice(chunk_id.bytes[0])})


def of_range(where: Range) -> list[str]:
    """A number of the point is in the range if, and only if, the point has one of these words."""
    low, high = 0, 16**DIGITS - 1
    if where.gt is not None:
        low = max(low, _ordered(where.gt) + 1)
    if where.gte is not None:
        low = max(low, _ordered(where.gte))
    if where.lt is not None:
        high = min(high, _ordered(where.lt) - 1)
    if where.lte is not None:
        high = min(high, _ordered(where.lte))
    return [f"{where.key}:{prefix}" for prefix in _cover(low, high)]


def slices(parts: int) -> Iterator[Sequence[str]]:
    """Words that split the points into about equal parts, by their ids; a point has a word of exactly one part."""
    parts = min(max(parts, 1), SLICES)
    for part in range(parts):
        yield [_slice(byte) for byte in range(part, SLICES, parts)]


def _slice(byte: int) -> str:
    return f"#{byte:02x}"


def _prefixes(key: str, value: float) -> Iterator[str]:
    digits = f"{_ordered(value):0{DIGITS}x}"
    return (f"{key}:{digits[:length]}" for length in range(1, DIGITS + 1))


def _ordered(value: float) -> int:
    """64 bits that sort as the numbers do; -0.0 is 0.0."""
    bits = int.from_bytes(struct.pack(">d", value + 0.0))
    return bits ^ (1 << 63) if bits < 1 << 63 else bits ^ (16**DIGITS - 1)


def _cover(low: int, high: int) -> Iterator[str]:
    """The fewest prefixes of which every number from low to high, and no other, has one."""
    for digits in range(DIGITS, 1, -1):
        while low <= high and low % 16:
            yield f"{low:0{digits}x}"
            low += 1
        while low <= high and high % 16 != 15:
            yield f"{high:0{digits}x}"
            high -= 1
        if low > high:
            return
        low, high = low // 16, high // 16
    yield from (f"{digit:x}" for digit in range(low, high + 1))
