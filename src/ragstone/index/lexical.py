"""BM25, the same for every engine: which words a text has, what each weighs in it, and how rare a word is.

score(query, text) = Σ of idf(word) · tf · (k + 1) / (tf + k · (1 - b + b · length / average)), over the query's words

(Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009.) The fraction is the word's
weight in the text and is stored; idf depends on what else is in the scope and is taken at query time.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qdrant_edge import Bm25, SparseVector

K = 0.9
B = 0.4
AVERAGE_LENGTH = 100.0
"""Words of a text of 200 tokens once stop words are gone. A fixed figure keeps a text's weights independent of its
neighbours; on SciFact (151 words on average) nDCG@10 was .692 with 96, .687 with 160 and .683 with 256."""

SIGNATURE = f"bm25 english k={K} b={B} length={AVERAGE_LENGTH}"
"""Weights made under another signature cannot be compared with these."""


def document(text: str) -> SparseVector:
    """The weight of each word of a text: English stems, accents folded, stop words left out."""
    return _model().embed_document(_encodable(text))


def query(text: str) -> SparseVector:
    """The distinct words of a question, each with weight 1."""
    return _model().embed_query(_encodable(text))


def idf(total: int, containing: int) -> float:
    """How much it says that a text has a word which `containing` of `total` texts have; always positive."""
    return math.log((total - containing + 0.5) / (containing + 0.5) + 1)


@lru_cache(maxsize=1)
def _model() -> Bm25:
    from qdrant_edge import Bm25, Bm25Config

    return Bm25(Bm25Config(k=K, b=B, avg_len=AVERAGE_LENGTH, language="english", ascii_folding=True))


def _encodable(text: str) -> str:
    """A question typed in a terminal may hold lone surrogates, which have no UTF-8 form."""
    return text.encode("utf-8", "replace").decode("utf-8")
