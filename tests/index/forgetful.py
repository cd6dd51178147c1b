"""An engine whose recall is known: of what the exact index finds, it misses as many of the nearest as it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import numpy as np
import numpy.typing as npt

from ragstone.index.exact import ExactIndex
from ragstone.index.filters import Filter
from ragstone.models import Hit, Point, Replacement, Scope

SCOPE = Scope(tenant="a", generation=uuid4(), fingerprint="5eed" * 16)
DIMENSIONS = 12
RANK = 24  # at most so many dimensions are used of many: as in texts' vectors, near ones are then worth finding

Misses = Callable[[int | None, Filter | None], int]
"""How many of the nearest are missed, by `ef` and filter. (A graph misses others as well, but as many.)"""


class Forgetful(ExactIndex):
    def __init__(self, misses: Misses) -> None:
        super().__init__()
        self.misses = misses
        self.asked: list[tuple[int | None, Filter | None, bool]] = []  # ef, filter, exact

    async def search(
        self,
        scope: Scope,
        *,
        vector: npt.NDArray[np.float32] | None,
        text: str | None,
        limit: int,
        where: Filter | None = None,
        ef: int | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """What BM25 finds is never missed."""
        self.asked.append((ef, where, exact))
        hits = await super().search(scope, vector=vector, text=text, limit=limit, where=where)
        if vector is None or exact:
            return hits
        nearest = sorted(hits, key=lambda hit: -(hit.cosine or 0))
        missed = {hit.chunk_id for hit in nearest[: self.misses(ef, where)] if not hit.bm25}
        return [hit for hit in hits if hit.chunk_id not in missed]


def documents(count: int, dimensions: int = DIMENSIONS) -> list[Replacement]:
    """Of one chunk each, in SCOPE, their samples evenly spread."""
    rows = vectors(count, seed=1, dimensions=dimensions)
    return [_document(row, (number + 0.5) / count) for number, row in enumerate(rows)]


def _document(vector: npt.NDArray[np.float32], sample: float) -> Replacement:
    return Replacement(
        tenant=SCOPE.tenant, collection=UUID(int=0), generation=SCOPE.generation, fingerprint=SCOPE.fingerprint,
        dimensions=len(vector), document_id=uuid4(), fields={"sample": (sample,)},
        points=(Point(chunk_id=uuid4(), text="fox", vector=vector),),
    )  # fmt: skip


def vectors(count: int, seed: int, dimensions: int = DIMENSIONS) -> npt.NDArray[np.float32]:
    spread = np.random.default_rng(0).normal(size=(RANK, dimensions))
    return (np.random.default_rng(seed).normal(size=(count, RANK)) @ spread).astype(np.float32)


async def forgetful(replacements: Sequence[Replacement], misses: Misses) -> Forgetful:
    index = Forgetful(misses)
    await index.apply(replacements, 1)
    return index
