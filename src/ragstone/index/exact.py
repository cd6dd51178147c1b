"""The exact index: every score computed in memory; the reference for tests and audits, and enough for small corpora."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

import numpy as np
import numpy.typing as npt

from ragstone import __version__
from ragstone.errors import WrongDimensions
from ragstone.index.base import Health
from ragstone.index.exact_table import Table
from ragstone.index.filters import Filter
from ragstone.index.progress import Progress
from ragstone.models import Entry, Hit, Replacement, Scope

BATCH = 1000  # entries that a scan gives at a time

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class ExactIndex:
    """Brute force over numpy arrays, one table a scope. Starts empty and at position 0 in every process.

    A thread does all the work, one call after the other: the event loop goes on meanwhile.
    """

    def __init__(self) -> None:
        self._tables: dict[Scope, Table] = {}  # none of them empty
        self._dimensions: dict[str, int] = {}  # of each space that was ever written to
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="exact-index")
        self._progress = Progress()
        self._source = ""

    async def source(self) -> str:
        return self._source

    async def position(self) -> int:
        return self._progress.position

    async def reset(self, source: str) -> None:
        await self._run(self._forget)
        self._source = source
        await self._progress.move(0)

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        await self._run(self._replace, replacements)
        await self._progress.move(max(position, self._progress.position))

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
        return await self._run(self._search, scope, vector, text, limit, where)

    async def count(self, scope: Scope, where: Filter | None = None) -> int:
        return await self._run(self._count, scope, where)

    async def scan(self, scope: Scope) -> AsyncIterator[Sequence[Entry]]:
        entries = await self._run(self._entries, scope)
        for start in range(0, len(entries), BATCH):
            yield entries[start : start + BATCH]

    async def scopes(self) -> list[Scope]:
        return await self._run(list, self._tables)

    async def drop(self, scope: Scope) -> None:
        await self._run(self._tables.pop, scope, None)

    async def health(self) -> Health:
        return Health(
            engine="exact",
            version=__version__,
            state="ready",
            position=self._progress.position,
            points=await self._run(self._points),
        )

    async def wait(self, position: int, timeout: float) -> bool:
        return await self._progress.wait(position, timeout)

    async def aclose(self) -> None:
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """In the thread, as all that follows."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _forget(self) -> None:
        self._tables.clear()
        self._dimensions.clear()

    def _replace(self, replacements: Sequence[Replacement]) -> None:
        self._dimensions = _known(self._dimensions, replacements)
        for r in replacements:
            scope = Scope(tenant=r.tenant, generation=r.generation, fingerprint=r.fingerprint)
            table = self._tables.setdefault(scope, Table(r.dimensions))
            table.put(r)
            if not len(table):
                del self._tables[scope]

    def _search(
        self, scope: Scope, vector: npt.NDArray[np.float32] | None, text: str | None, limit: int, where: Filter | None
    ) -> list[Hit]:
        table = self._tables.get(scope)
        if table is None:
            return []
        if vector is not None:
            _check(vector, self._dimensions[scope.fingerprint])
        return table.search(vector, text, limit, where)

    def _count(self, scope: Scope, where: Filter | None) -> int:
        table = self._tables.get(scope)
        return 0 if table is None else len(table.rows(where))

    def _entries(self, scope: Scope) -> list[Entry]:
        table = self._tables.get(scope)
        return [] if table is None else table.entries()

    def _points(self) -> int:
        return sum(len(table) for table in self._tables.values())


def _known(dimensions: dict[str, int], replacements: Sequence[Replacement]) -> dict[str, int]:
    """The dimensions of each space, once these are in it. Raises WrongDimensions."""
    known = dict(dimensions)
    for r in replacements:
        if not r.points:
            continue
        wanted = known.setdefault(r.fingerprint, r.dimensions)
        if r.dimensions != wanted:
            raise _wrong(r.dimensions, wanted)
        for point in r.points:
            _check(point.vector, wanted)
    return known


def _check(vector: npt.NDArray[np.float32], wanted: int) -> None:
    if vector.shape != (wanted,):
        raise _wrong(vector.size, wanted)


def _wrong(dimensions: int, wanted: int) -> WrongDimensions:
    return WrongDimensions(
        f"a vector has {dimensions} numbers, those of its space have {wanted}",
        hint="vectors of another length belong in a space, and so in a generation, of their own",
    )
