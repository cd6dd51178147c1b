"""Writing all of an index anew from the catalog: through the change log, so that searches go on meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ragstone.catalog.catalog import Catalog
from ragstone.errors import IndexUnavailable
from ragstone.index.base import Index

STALLED = 300.0
"""Seconds without a move after which an index is given up."""

LOOK = 0.2  # seconds between looks at how far it is

Notice = Callable[[int, int], None]
"""Is told again and again how many positions the index has moved, and how many it has to."""


async def rebuild(catalog: Catalog, index: Index, notice: Notice, *, from_scratch: bool = False) -> int:
    """Have every document written to the index once more, and wait until all are; gives how many there are.

    What the index holds beyond them stays: an audit finds it. `from_scratch` empties the index first, for one that is
    damaged: until it is done, searches find less. Raises IndexUnavailable when the index does not move any more.
    """
    if from_scratch:
        await index.reset("")  # whoever feeds the index sees that it follows no catalog, and begins at the beginning
    start = 0 if from_scratch else await index.position()
    documents = await catalog.auditing.log_everything()
    await catalog.compact()
    await _follow(catalog, index, notice, start)
    return documents


async def _follow(catalog: Catalog, index: Index, notice: Notice, start: int) -> None:
    target, source = await catalog.head(), await catalog.identity()
    moved, before = time.monotonic(), -1
    while True:
        followed, position = await index.source(), await index.position()
        notice(max(0, position - start), target - start)
        if followed == source and position >= target:
            return
        if position != before:
            moved, before = time.monotonic(), position
        elif time.monotonic() - moved > STALLED:
            raise IndexUnavailable(
                f"the index stands at position {position} of {target} and moves no more",
                hint="its log, or that of `serve` or `worker`, tells why; it goes on from there by itself",
            )
        await asyncio.sleep(LOOK)
