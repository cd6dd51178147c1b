"""Decides when a shard needs its graphs built, has that done on a copy by another process, and swaps the copy in."""

from __future__ import annotations

import asyncio
import logging
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

from ragstone.index.edge import state
from ragstone.index.edge.child import child
from ragstone.index.edge.copying import size_of
from ragstone.index.edge.faults import RESERVE, refuse_without_room
from ragstone.index.edge.local import LocalIndex
from ragstone.index.edge.shard import Shard

logger = logging.getLogger(__name__)

BUILD = "ragstone.index.edge.build"

GROWTH = 4
"""Build again once more than a quarter of the points is new: in all, five times the work of one build."""

PAUSE = 30.0  # seconds after a build that failed


class Builder:
    """`build_after`: changed points of a space up to which scanning them costs searches nothing to speak of."""

    def __init__(self, index: LocalIndex, build_after: int) -> None:
        self._index = index
        self._build_after = build_after
        self.building: str | None = None  # the space, while it is being built

    async def run(self) -> None:
        """Build whatever is due, until cancelled."""
        while True:
            self._index.written.clear()
            try:
                while space := self._due():
                    await self._build(space)
            except Exception:  # whatever it was, searches go on with the old graphs
                logger.exception("the graphs are not built yet; next try in %.0f s", PAUSE)
                await asyncio.sleep(PAUSE)
            else:
                await self._index.written.wait()

    def _due(self) -> str | None:
        store = self._index.store
        for name, space in store.state.spaces.items():
            enough = max(self._build_after, store.shards[name].size() // GROWTH)
            if space.changed >= enough or store.unindexed(name):
                return name
        return None

    async def _build(self, space: str) -> None:
        store = self._index.store
        target = state.unused_folder(store.folder)
        self.building = space
        try:
            await self._build_into(target, space)
        finally:
            self.building = None
            if target.name not in {s.folder for s in store.state.spaces.values()}:
                shutil.rmtree(target, ignore_errors=True)

    async def _build_into(self, target: Path, space: str) -> None:
        store = self._index.store
        with self._index.journal(space) as touched:
            async with AsyncExitStack() as stack:
                async with self._index.paused():
                    if (old := store.shards.get(space)) is None:
                        return
                    built = store.state.spaces[space].changed
                    touched.clear()
                    old.flush()
                    refuse_without_room(store.folder, RESERVE + 2 * size_of(old.folder))
                    process = await stack.enter_async_context(child(BUILD, old.folder, target, *store.unindexed(space)))
                    await process.copied()
                await process.finished()
            fresh = Shard.load(target)
            if not await self._index.replace(space, old, fresh, touched, built):
                fresh.close()
