"""Decides when a shard needs its graphs built, has that done on a copy by another process, and swaps the copy in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
from pathlib import Path

from ragstone.errors import IndexFailure
from ragstone.index.edge.local import LocalIndex
from ragstone.index.edge.shard import Shard

logger = logging.getLogger(__name__)

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
            except Exception:
                logger.exception("the graphs are not built yet; next try in %.0f s", PAUSE)
                await asyncio.sleep(PAUSE)
            else:
                await self._index.written.wait()

    def _due(self) -> str | None:
        store = self._index.store
        for name, space in store.state.spaces.items():
            if space.changed >= max(self._build_after, store.shards[name].size() // GROWTH):
                return name
        return None

    async def _build(self, space: str) -> None:
        target = self._index.store.unused_folder()
        self.building = space
        try:
            await self._build_into(target, space)
        finally:
            self.building = None
            if target.name not in {s.folder for s in self._index.store.state.spaces.values()}:
                shutil.rmtree(target, ignore_errors=True)

    async def _build_into(self, target: Path, space: str) -> None:
        store = self._index.store
        with self._index.journal(space) as touched:
            async with self._index.paused():
                if (old := store.shards.get(space)) is None:
                    return
                built = store.state.spaces[space].changed
                touched.clear()
                old.flush()
                process = await _start(old.folder, target)
                copied = await _line(process)
            try:
                if not copied or await process.wait():
                    raise IndexFailure(f"the building process ended with status {await process.wait()}")
            finally:
                await _end(process)
            fresh = Shard.load(target)
            if not await self._index.replace(space, old, fresh, touched, built):
                fresh.close()


async def _start(source: Path, target: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "ragstone.index.edge.build", source, target, stdout=asyncio.subprocess.PIPE
    )


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.readline()


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
