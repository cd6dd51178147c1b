"""The words of a text that say what it is about, in a form in which they can be compared."""

from __future__ import annotations

import re
from collections.abc import Callable

_WORD = re.compile(r"\w+(?:[.,]\d+)*")
_STOP_WORDS = frozenset(
    """
    a about above according after again against all also am an and any are as at be because been before being below
    between both but by can could describe did do does doing down during each explain few for from further get got
    had has have having he her here hers him his how i if in into is it its just many may me might more most much
    must my no nor not of off on once only or other our out over own please s same shall she should so some such t
    tell than that the their theirs them then there these they this those through to too under until up us very was
    we were what when where which while who whom whose why will with would you your
    """.split()  # noqa: SIM905 - a list of so many quoted words is hard to read
)


def word_reader() -> Callable[[str], frozenset[str]]:
    """A function from a text to its distinct words: lower case, English stems, stop words left out.

    A text of stop words alone keeps them all. Words of other languages pass as they are, more or less. Each reader is
    for one thread at a time.
    """
    from Stemmer import Stemmer

    stem = Stemmer("english").stemWords

    def read(text: str) -> frozenset[str]:
        words = [word.lower() for word in _WORD.findall(text)]
        return frozenset(stem([word for word in words if word not in _STOP_WORDS] or words))

    return read
