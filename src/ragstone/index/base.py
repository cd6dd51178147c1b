"""An index finds chunk ids by vector and by words. It holds nothing that the catalog cannot give it again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from ragstone.index.filters import Filter
from ragstone.models import Entry, Hit, Replacement, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How an engine stands. `details` are the engine's own figures, by name."""

    engine: str  # edge, qdrant, pgvector, weaviate or exact
    version: str  # of the engine
    state: Literal["ready", "building", "read_only"]  # building: searches work, more slowly than they will
    position: int
    points: int
    unbuilt: int = 0  # points changed since the graphs were built: scanned, not navigated
    details: Mapping[str, str | int | float] = field(default_factory=dict)


class Index(Protocol):
    """One engine, holding every generation that was applied to it.

    Every method raises IndexUnavailable when the engine cannot be reached, IndexReadOnly when it takes no writes,
    IndexTooOld when its version lacks something, and IndexFailure when it refuses or fails in another way.
    """

    async def source(self) -> str:
        """The identity of the catalog that the index follows; empty before the first."""
        ...

    async def position(self) -> int:
        """The change-log position up to which everything is applied and durable; 0 for an empty index."""
        ...

    async def reset(self, source: str) -> None:
        """Forget everything and go to position 0 of a catalog."""
        ...

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        """Make the replacements durable, then record the position. Repeating a call changes nothing.

        A search meanwhile meets of each document its old points, its new ones or both, never none.
        Raises WrongDimensions, having changed nothing, when a vector's length is not that of its space.
        """
        ...

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
        """The union of the `limit` nearest by cosine and the `limit` best by BM25, within scope and filter alone.

        Every hit carries both scores when both are asked for (a chunk without a word of the query has BM25 0), so
        that they can be fused without gaps; a score that was not asked for is None. Order is not defined.
        A scope that holds nothing gives an empty list. Rarity of words is counted in the scope, whatever the filter.
        `ef` is the breadth of the graph search (None: the engine's setting); `exact` computes every cosine instead.
        Raises WrongDimensions.
        """
        ...

    async def count(self, scope: Scope, where: Filter | None = None) -> int: ...

    def scan(self, scope: Scope) -> AsyncIterator[Sequence[Entry]]:
        """All points of a scope in the order of their ids, in batches: for an audit."""
        ...

    async def scopes(self) -> list[Scope]:
        """Every scope that holds a point, in no order."""
        ...

    async def drop(self, scope: Scope) -> None:
        """Let go of a scope with all that was made for it. One that holds nothing is no error."""
        ...

    async def health(self) -> Health: ...

    async def wait(self, position: int, timeout: float) -> bool:
        """Until the index has reached the position; False when it has not after `timeout` seconds."""
        ...

    async def aclose(self) -> None: ...
