"""Counting tokens: a counter is any function from text to its number of tokens."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import TypeAlias

TokenCounter: TypeAlias = Callable[[str], int]

_SPACED_WORD = re.compile(r" ([A-Za-z][a-z]+)(?=[ \t\r\n!-&(-/:-@\[-`{-~\u2010-\u2027]|$)")
"""A space and a word that ends before white space or punctuation: every tokenizer takes such a word by itself."""


def overestimate(text: str) -> int:
    """At least as many tokens as a tokenizer makes of the text, for use where the tokenizer is not known.

    It is never too low for tokenizers that spend at most one token on a byte (of the text, or of its NFC form, which
    some make first) and know the 6,500 English words of words.txt whole, with the space before them. On English it
    comes out between two and three times too high, on other text it is the number of bytes.
    """
    words = _common_words()
    saved = sum(len(word) for word in _SPACED_WORD.findall(text) if word.lower() in words)
    forms = text, unicodedata.normalize("NFC", text)
    return max(len(form.encode(errors="surrogatepass")) for form in forms) - saved


def byte_pairs(encoding: str) -> TokenCounter:
    """The counter of an encoding that OpenAI has published, such as "o200k_base". Needs the extra `openai`."""
    with warnings.catch_warnings():  # it opens its tables in a way that Python means to drop
        warnings.simplefilter("ignore", DeprecationWarning)
        from bpe_openai import get_encoding

        encode = get_encoding(encoding).encode_ordinary
    # It refuses to give more than 200,000 tokens; such a text is over any limit by either count.
    return lambda text: len(encode(text)) if len(text) < 50_000 else overestimate(text)


@cache
def _common_words() -> frozenset[str]:
    return frozenset(files(__package__).joinpath("words.txt").read_text(encoding="ascii").split())
