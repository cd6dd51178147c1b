"""Words that a line end divides → whole words; hyphens that belong to a word stay."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from ragstone.parsing.fragments import Fragment

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_DIVIDED = re.compile(r"([^\W_]+(?:-[^\W_]+)*)(?:[-\u00ad\u2010]$)")
_HALF = 4
"""Two words of at least this many letters, both used by themselves, are rather a compound than a divided word."""


class Hyphens:
    """Tells by the words of the document itself whether a hyphen at a line end belongs to its word."""

    def __init__(self, fragments: Iterable[Fragment]) -> None:
        self._seen: Counter[str] = Counter()
        divided = False
        for fragment in fragments:
            words = _WORD.findall(fragment.text.casefold())
            ends_divided = bool(_DIVIDED.search(fragment.text))
            self._seen.update(words[divided : len(words) - ends_divided])
            divided = ends_divided

    def mend(self, above: str, below: str) -> tuple[str, str]:
        """Two lines, the divided word moved up whole. Unchanged when the upper one ends in no hyphen."""
        match = _DIVIDED.search(above)
        if match is None or not below or not (below[0].isalnum() or below[0] in "(\"'"):
            return above, below
        rest, _, remains = below.partition(" ")
        if above[-1] == "-" and not rest[0].islower():
            return above, below
        hyphen = "-" if self._belongs(match[1], rest) else ""
        return above[:-1] + hyphen + rest, remains

    def _belongs(self, left: str, rest: str) -> bool:
        """Whether the hyphen after `left` stays: names, numbers, longer compounds, and what is so written elsewhere."""
        word = _WORD.match(rest)
        if word is None or not rest[0].islower() or "-" in left or "-" in word[0] or not left[-1].isalpha():
            return True
        before, after = left.casefold(), word[0].casefold()
        if self._seen[before + after]:
            return False
        both = min(len(before), len(after)) >= _HALF and self._seen[before] and self._seen[after]
        return bool(self._seen[f"{before}-{after}"] or both)
