"""The line in front of a chunk that says where in its document it stands."""

from __future__ import annotations

from collections.abc import Sequence

from ragstone.tokens import TokenCounter


def prefix(title: str, path: Sequence[str], count: TokenCounter, limit: int, *, has_own_heading: bool) -> str:
    """`Title > H1 > H2` and a line end, in at most `limit` tokens; nothing when not one word of it fits.

    A heading equal to the one before it is left out, and so is the last one when the chunk's text begins with it.
    When there is too much, the middle goes first: the title and the nearest heading say most.
    """
    parts = _distinct([title, *path])
    if has_own_heading and path and path[-1].strip():
        parts.pop()
    while len(parts) > 1 and count(_line(parts)) > limit:
        del parts[(len(parts) - 1) // 2]
    return _line(parts) if not parts or count(_line(parts)) <= limit else _shortened(parts[0], count, limit)


def _distinct(names: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for name in (" ".join(name.split()) for name in names):
        if name and (not kept or kept[-1].casefold() != name.casefold()):
            kept.append(name)
    return kept


def _line(parts: Sequence[str]) -> str:
    return " > ".join(parts) + "\n" if parts else ""


def _shortened(name: str, count: TokenCounter, limit: int) -> str:
    words = name.split()
    while words and count(_line([" ".join(words)])) > limit:
        words = words[: len(words) * 2 // 3]
    return _line([" ".join(words)]) if words else ""
