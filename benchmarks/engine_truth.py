"""What searches of a corpus should find: the nearest by every cosine, computed here and not by the engine on trial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from engine_corpus import Corpus, chunk_id, sample_of

from ragstone.index.recall import TIES, TOLERANCE, Truth
from ragstone.models import Vectors

BLOCK = 20_000  # rows compared at once

Rows = npt.NDArray[np.int64]


def samples(count: int, together: int = 5) -> npt.NDArray[np.float64]:
    """The field `sample` of each row's document."""
    return np.repeat([sample_of(start) for start in range(0, count, together)], together)[:count]


def truths(corpus: Corpus, queries: Vectors, k: int, rows: Rows) -> list[Truth]:
    """For each query the k nearest of these rows, with those as near as the last of them."""
    best = np.empty((len(queries), 0))
    ids = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        cosines = queries @ np.asarray(corpus.vectors[block]).T
        best = np.hstack([best, cosines])
        ids = np.hstack([ids, np.broadcast_to(block, cosines.shape)])
        order = np.argsort(-best, axis=1, kind="stable")[:, : k + TIES]
        best, ids = np.take_along_axis(best, order, axis=1), np.take_along_axis(ids, order, axis=1)
    return [_truth(cosines, found, k) for cosines, found in zip(best, ids, strict=True)]


def _truth(cosines: Sequence[float] | npt.NDArray[np.float64], rows: Rows, k: int) -> Truth:
    wanted = min(k, len(rows))
    bound = cosines[wanted - 1] - TOLERANCE if wanted else 0.0
    near = (row for row, cosine in zip(rows, cosines, strict=True) if cosine >= bound)
    return Truth(ids=frozenset(chunk_id(int(row)) for row in near), wanted=wanted)
