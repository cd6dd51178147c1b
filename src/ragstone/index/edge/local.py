"""The index as its own process sees it: the store, with searches let in between the slices of a write."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from uuid import UUID

from ragstone.errors import IndexReadOnly
from ragstone.index.edge.faults import from_os
from ragstone.index.edge.shard import Shard
from ragstone.index.edge.store import Store, scope_key
from ragstone.index.progress import Progress
from ragstone.models import Replacement, Scope

Touched = dict[tuple[str, UUID | None], None]
"""Scope keys and documents, in the order they were first written; None is the whole scope."""

TOGETHER = 16  # documents carried over to a new shard while searches wait


class LocalIndex:
    """One event loop, no threads: the engine holds the interpreter anyway. `store` answers what only reads."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.written = asyncio.Event()  # set whenever something was applied
        self.read_only = False  # whether the last write was refused for want of room or permission
        self._writing = asyncio.Lock()
        self._progress = Progress(self.store.state.position)
        self._journals: dict[str, Touched] = {}

    async def position(self) -> int:
        return self._progress.position

    async def source(self) -> str:
        return self.store.state.source

    async def reset(self, source: str) -> None:
        async with self._writing:
            with self._noting_refusal():
                self.store.reset(source)
        await self._progress.move(0)

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        async with self._writing:
            for r in replacements:
                self._note(r.fingerprint, scope_key(r.tenant, r.generation), r.document_id)
            with self._noting_refusal():
                for _ in self.store.write(replacements):
                    await asyncio.sleep(0)
                self.store.commit(position)
        await self._progress.move(self.store.state.position)
        self.written.set()

    async def drop(self, scope: Scope) -> None:
        async with self._writing:
            self._note(scope.fingerprint, scope_key(scope.tenant, scope.generation), None)
            with self._noting_refusal():
                for _ in self.store.drop(scope):
                    await asyncio.sleep(0)
        self.written.set()

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
                    old.copy(*key, into=fresh)
                if not touched:
                    self.store.swap(space, fresh, built)
                    return True
            await asyncio.sleep(0)

    def _note(self, space: str, scope: str, document: UUID | None) -> None:
        if (journal := self._journals.get(space)) is not None:
            journal[scope, document] = None

    @contextmanager
    def _noting_refusal(self) -> Iterator[None]:
        try:
            yield
        except IndexReadOnly:
            self.read_only = True
            raise
        except OSError as error:
            mapped = from_os(error.errno, f"the index cannot be written: {error}")
            self.read_only = isinstance(mapped, IndexReadOnly)
            raise mapped from error
        self.read_only = False
