"""The index as its own process sees it: the store, with searches let in between the slices of a write."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ragstone.index.edge.shard import Shard, scope_key
from ragstone.index.edge.store import Store
from ragstone.index.progress import Progress
from ragstone.models import Hit, Replacement, Scope

Touched = dict[tuple[str, UUID], None]
"""Scope keys and documents, in the order they were first written."""

TOGETHER = 16  # documents carried over to a new shard while searches wait


class LocalIndex:
    """One event loop, no threads: the engine holds the interpreter anyway."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.written = asyncio.Event()  # set whenever something was applied
        self._writing = asyncio.Lock()
        self._progress = Progress(self.store.state.position)
        self._journals: dict[str, Touched] = {}

    async def position(self) -> int:
        return self._progress.position

    async def source(self) -> str:
        return self.store.state.source

    async def reset(self, source: str) -> None:
        async with self._writing:
            self.store.reset(source)
        await self._progress.move(0)

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        async with self._writing:
            for replacement in replacements:
                if (journal := self._journals.get(replacement.fingerprint)) is not None:
                    journal[scope_key(replacement.tenant, replacement.generation), replacement.document_id] = None
            for _ in self.store.write(replacements):
                await asyncio.sleep(0)
            self.store.commit(position)
        await self._progress.move(position)
        self.written.set()

    def search(
        self, scope: Scope, *, vector: npt.NDArray[np.float32] | None, text: str | None, limit: int, ef: int
    ) -> list[Hit]:
        return self.store.search(scope, vector=vector, text=text, limit=limit, ef=ef)

    def count(self, scope: Scope) -> int:
        return self.store.count(scope)

    async def wait(self, position: int, timeout: float) -> bool:
        return await self._progress.wait(position, timeout)

    def close(self) -> None:
        self.store.close()

    @contextmanager
    def journal(self, space: str) -> Iterator[Touched]:
        """Collects the documents of a space that are written while the context lasts."""
        self._journals[space] = {}
        try:
            yield self._journals[space]
        finally:
            del self._journals[space]

    def paused(self) -> asyncio.Lock:
        """A context in which nothing is written."""
        return self._writing

    async def replace(self, space: str, old: Shard, fresh: Shard, touched: Touched, built: int) -> bool:
        """Carry over what was written since `fresh` was copied, then swap. False when the space is no longer `old`."""
        while True:
            async with self._writing:
                if self.store.shards.get(space) is not old:
                    return False
                for key in list(islice(touched, TOGETHER)):
                    del touched[key]
                    old.copy_document(*key, into=fresh)
                if not touched:
                    self.store.swap(space, fresh, built)
                    return True
            await asyncio.sleep(0)
