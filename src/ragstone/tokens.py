"""Counting tokens: a counter is any function from text to its number of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

TokenCounter: TypeAlias = Callable[[str], int]


def overestimate(text: str) -> int:
    """Never fewer tokens than a byte-level tokenizer makes of the text.

    Such a tokenizer spends at most one token a byte. Runs of ASCII letters come out at two letters a token or
    better in every common vocabulary, so half a token is counted for each of those and one for any other byte.
    """
    letters = sum(1 for c in text if c.isascii() and (c.isalpha() or c == " "))
    return (letters + 1) // 2 + len(text.encode()) - letters
