"""The words of a chunk as Weaviate is given them, and BM25 from what is stored.

Weaviate's own BM25 weighs words by lengths relative to the average of its tenant, ours by a fixed length. So it is
given each word as often as its weight says, SCALE times the weight, in a collection whose BM25 neither saturates nor
looks at lengths: what it adds up is then our score, each weight rounded to 1 / SCALE. Its best are read with their
exact weights, and scored by ragstone.index.lexical.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping

import numpy as np

from ragstone.index import lexical

SCALE = 8
SATURATION = 10_000.0
"""Weaviate's k1: a word that is in it r times counts r · (k1 + 1) / (k1 + r), for 15, the most, .15 % off r."""

_POSTING = np.dtype([("stem", "<u4"), ("weight", "<f4")])


def stored(text: str) -> tuple[str, str]:
    """A chunk's words as Weaviate counts them, and with their exact weights, as `bm25` reads them."""
    weights = lexical.document(text)
    postings = np.empty(len(weights.indices), dtype=_POSTING)
    postings["stem"], postings["weight"] = weights.indices, weights.values
    times = np.maximum(np.rint(postings["weight"] * SCALE), 1).astype(int)
    bag = " ".join(" ".join([str(stem)] * count) for stem, count in zip(weights.indices, times.tolist(), strict=True))
    return bag, b64encode(postings.tobytes()).decode("ascii")


def bm25(postings: str, rarity: Mapping[int, float]) -> float:
    """The score of a chunk by the idf of each of the question's words."""
    read = np.frombuffer(b64decode(postings), dtype=_POSTING)
    stems: list[int] = read["stem"].tolist()
    weights: list[float] = read["weight"].tolist()
    return sum(rarity[stem] * weight for stem, weight in zip(stems, weights, strict=True) if stem in rarity)


def bound(theirs: float, rarity: Mapping[int, float]) -> float:
    """The most that a chunk can score by our formula when it scores no more than this by Weaviate's."""
    most = SCALE * (lexical.K + 1)
    return theirs * (SATURATION + most + 1) / (SATURATION + 1) / SCALE + sum(rarity.values()) / (2 * SCALE)
