"""A text's words, and how many tokens any run of them takes: counted once, then only added up."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from ragstone.tokens import TokenCounter

LONGEST_WORD = 32
"""Characters; what is longer (an address, Base64, a script without spaces) is measured and cut in pieces."""

# Ideographs, kana and their punctuation stand alone: text in them has no spaces.
_ALONE = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_ALONE}]|[^\s{_ALONE}]{{1,{LONGEST_WORD}}}")


class Words:
    """The words of a text by number; word `i` is `text[starts[i]:ends[i]]`.

    Sizes are sums of the tokens of single words, each with the white space before it. That is exact for tokenizers
    that split at white space first, such as WordPiece; for others it is close, and mostly more than the whole takes.
    """

    def __init__(self, text: str, count: TokenCounter, widest: int) -> None:
        """`count` is asked for the same words again and again, so let it remember. No word of more than one
        character is wider than `widest` tokens."""
        self.text = text
        self.starts, self.ends = array("q"), array("q")
        self._bare = array("q")  # tokens of a word alone
        self._total = array("q", [0])  # tokens up to a word, white space included
        before = total = 0
        for start, end, bare in _spans(text, count, widest):
            total += count(text[before:end]) if start > before else bare
            self.starts.append(start)
            self.ends.append(end)
            self._bare.append(bare)
            self._total.append(total)
            before = end

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, offset: int) -> int:
        """The first word that starts at an offset in the text or after it."""
        return bisect_left(self.starts, offset)

    def size(self, first: int, last: int) -> int:
        """Tokens of the words from `first` up to, without, `last`."""
        return self._bare[first] + self._total[last] - self._total[first + 1] if last > first else 0

    def reach(self, first: int, room: int) -> int:
        """The furthest end of a run from `first` within `room` tokens, and at least one word."""
        end = bisect_right(self._total, room - self._bare[first] + self._total[first + 1], lo=first + 1) - 1
        return max(end, first + 1)

    def back(self, last: int, room: int) -> int:
        """The earliest start of a run up to `last` within `room` tokens; `last` itself when no word fits."""
        return bisect_left(self._total, self._total[last] - room, hi=last)

    def spaced(self, first: int, last: int) -> int:
        """The end of a run from `first`, moved back from `last` to white space when there is some near it."""
        for end in range(last, max(first, last - 8), -1):
            if end == len(self) or self.starts[end] > self.ends[end - 1]:
                return end
        return last


def _spans(text: str, count: TokenCounter, widest: int) -> Iterator[tuple[int, int, int]]:
    """Where each word starts and ends, and its tokens."""
    for match in _WORD.finditer(text):
        tokens = count(match[0])
        if tokens <= widest:
            yield match.start(), match.end(), tokens
        else:
            yield from _halved(text, match.start(), match.end(), count, widest)


def _halved(text: str, start: int, end: int, count: TokenCounter, widest: int) -> Iterator[tuple[int, int, int]]:
    """A word in parts that are narrow enough."""
    tokens = count(text[start:end])
    if end - start == 1 or tokens <= widest:
        yield start, end, tokens
    else:
        middle = (start + end) // 2
        yield from _halved(text, start, middle, count, widest)
        yield from _halved(text, middle, end, count, widest)
