"""An index finds chunk ids by vector and by words. It holds nothing that the catalog cannot give it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ragstone.models import Hit, Replacement, Scope


class Index(Protocol):
    """One engine, holding every generation that was applied to it."""

    async def position(self) -> int:
        """The change-log position up to which everything is applied and durable; 0 for an empty index."""
        ...

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        """Make the replacements durable, then record the position. Repeating a call changes nothing."""
        ...

    async def search(
        self, scope: Scope, *, vector: npt.NDArray[np.float32] | None, text: str | None, limit: int
    ) -> list[Hit]:
        """The union of the `limit` nearest by cosine and the `limit` best by BM25, within the scope alone.

        Every hit carries both scores when both are asked for (a chunk without a word of the query has BM25 0), so
        that they can be fused without gaps; a score that was not asked for is None. Order is not defined.
        A scope that holds nothing gives an empty list.
        """
        ...

    async def count(self, scope: Scope) -> int: ...

    async def wait(self, position: int, timeout: float) -> bool:
        """Until the index has reached the position; False when it has not after `timeout` seconds."""
        ...

    async def aclose(self) -> None: ...
