"""Recall: the share of a vector's truly nearest points that a search found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ragstone.index.base import Index
from ragstone.index.filters import Filter
from ragstone.models import Hit, Scope

TIES = 100
"""Points beyond the k-th that are looked at: equal texts have equal vectors, and one is as good as the other."""

TOLERANCE = 1e-6
"""Cosines this close are equal: float32 does not tell them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a search for the k nearest should find: `wanted` of these, whichever."""

    ids: frozenset[UUID]
    wanted: int  # k, or all that there is

    def recall(self, hits: Iterable[Hit]) -> float:
        """In [0, 1]; 1 where there is nothing to find."""
        if not self.wanted:
            return 1.0
        return min(len({hit.chunk_id for hit in hits} & self.ids) / self.wanted, 1.0)


async def nearest(
    index: Index, scope: Scope, vector: npt.NDArray[np.float32], k: int, where: Filter | None = None
) -> Truth:
    """The k nearest by every cosine, with those as near as the last of them. Raises IndexFailure."""
    hits = await index.search(scope, vector=vector, text=None, limit=k + TIES, where=where, exact=True)
    cosines = {hit.chunk_id: hit.cosine for hit in hits if hit.cosine is not None}
    wanted = min(k, len(cosines))
    bound = sorted(cosines.values(), reverse=True)[wanted - 1] - TOLERANCE if wanted else 0.0
    return Truth(ids=frozenset(key for key, cosine in cosines.items() if cosine >= bound), wanted=wanted)
