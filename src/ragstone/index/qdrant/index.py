"""The index on a Qdrant server: its spaces, and how far they follow the catalog."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt
from qdrant_client import AsyncQdrantClient
from qdrant_client import models as q

from ragstone.index.base import Health
from ragstone.index.filters import Filter
from ragstone.index.qdrant.health import health_of
from ragstone.index.qdrant.search import Search
from ragstone.index.qdrant.server import Missing, check_version, qdrant_errors
from ragstone.index.qdrant.space import Layout, Page, Space, require_length
from ragstone.index.qdrant.state import State, create_state, read_state, write_state
from ragstone.models import Entry, Hit, Replacement, Scope

T = TypeVar("T")

EF = 128
RECHECK = 60.0  # seconds after which a space is looked at anew: another process may have made it again
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.25  # seconds between looks at the position


class QdrantIndex:
    """All that one name stands for on a server: `name` holds the position, `name-<fingerprint>` each space."""

    def __init__(
        self, client: AsyncQdrantClient, *, layout: Layout, ef: int | None = None, name: str = "ragstone"
    ) -> None:
        self._client = client
        self._layout = layout
        self._ef = ef or EF
        self._name = name
        self._version = ""  # of the server, once it was asked
        self._spaces: dict[str, tuple[Space, float]] = {}  # by fingerprint, with the time when it was looked at
        self._founded = False
        self._writing = asyncio.Lock()

    async def source(self) -> str:
        return (await self._state()).source

    async def position(self) -> int:
        return (await self._state()).position

    async def reset(self, source: str) -> None:
        """The position goes first: it must never stand for points that are not there."""
        async with self._writing:
            await self._record(State())
            for fingerprint in await self._fingerprints():
                async with self._contact():
                    await self._client.delete_collection(self._space_name(fingerprint))
            self._spaces.clear()
            await self._record(State(source=source))

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        newest = {(r.fingerprint, _key(r), r.document_id): r for r in replacements}
        groups: dict[tuple[str, str], list[Replacement]] = {}
        for (fingerprint, scope, _), replacement in newest.items():
            groups.setdefault((fingerprint, scope), []).append(replacement)
        async with self._writing:
            await self._refuse_wrong_dimensions(newest.values())
            for (fingerprint, scope), group in groups.items():
                async with self._contact():
                    space = await self._space_for(fingerprint, group)
                    if space is not None:
                        await space.replace(scope, group)
            reached = await self._state()
            await self._record(State(source=reached.source, position=max(reached.position, position)))

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
        async def hits(space: Space) -> list[Hit]:
            if vector is not None:
                require_length(space.dimensions, len(vector))
            search = Search(space=space, scope=_key(scope), limit=limit, where=where, ef=ef or self._ef, exact=exact)
            return await search.hits(vector, text)

        return await self._ask(scope.fingerprint, hits, []) if limit > 0 else []

    async def count(self, scope: Scope, where: Filter | None = None) -> int:
        return await self._ask(scope.fingerprint, lambda space: space.count(_key(scope), where), 0)

    async def scan(self, scope: Scope) -> AsyncIterator[Sequence[Entry]]:
        start: q.ExtendedPointId | None = None
        while True:
            page: Page = await self._ask(
                scope.fingerprint, partial(Space.page, scope=_key(scope), start=start), ([], None)
            )
            entries, start = page
            if entries:
                yield entries
            if start is None:
                return

    async def scopes(self) -> list[Scope]:
        found: list[Scope] = []
        for fingerprint in await self._fingerprints():
            keys: list[str] = await self._ask(fingerprint, Space.scopes, [])
            found.extend(_scope(key, fingerprint) for key in keys)
        return found

    async def drop(self, scope: Scope) -> None:
        """A space goes with its last scope."""
        async with self._writing:
            if await self._ask(scope.fingerprint, lambda space: space.remove(_key(scope)), False):
                self._spaces.pop(scope.fingerprint, None)

    async def health(self) -> Health:
        position, names = await self.position(), [self._space_name(each) for each in await self._fingerprints()]
        async with self._contact():
            return await health_of(self._client, self._version, position, names)

    async def wait(self, position: int, timeout: float) -> bool:
        """Looks at the position again and again: another process may be the one that moves it."""
        pause, deadline = FIRST_PAUSE, asyncio.get_running_loop().time() + timeout
        while await self.position() < position:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE)
        return True

    async def aclose(self) -> None:
        await self._client.close()

    @asynccontextmanager
    async def _contact(self) -> AsyncIterator[None]:
        """Errors of the client become ours; the first contact asks for the server's version."""
        try:
            with qdrant_errors():
                if not self._version:
                    self._version = await check_version(self._client)
                yield
        except Missing:
            self._spaces.clear()
            self._founded = False
            raise

    async def _ask(self, fingerprint: str, question: Callable[[Space], Awaitable[T]], nothing: T) -> T:
        """The answer of a space; `nothing` where there is none, or another process drops it meanwhile."""
        with suppress(Missing):
            async with self._contact():
                space = await self._space(fingerprint)
                return nothing if space is None else await question(space)
        return nothing

    async def _state(self) -> State:
        async with self._contact():
            if not await self._has_state():
                return State()
            return await read_state(self._client, self._name)

    async def _record(self, state: State) -> None:
        async with self._contact():
            if not await self._has_state():
                await create_state(self._client, self._name, self._layout)
            await write_state(self._client, self._name, state)

    async def _has_state(self) -> bool:
        """Once it is there, it stays."""
        self._founded = self._founded or await self._client.collection_exists(self._name)
        return self._founded

    async def _refuse_wrong_dimensions(self, replacements: Iterable[Replacement]) -> None:
        """Before anything is written."""
        async with self._contact():
            wanted: dict[str, int] = {}
            for r in replacements:
                if r.fingerprint not in wanted:
                    space = await self._space(r.fingerprint)
                    wanted[r.fingerprint] = r.dimensions if space is None else space.dimensions
                for point in r.points:
                    require_length(wanted[r.fingerprint], len(point.vector))

    async def _space(self, fingerprint: str) -> Space | None:
        space, looked_at = self._spaces.get(fingerprint, (None, 0.0))
        if space is None or time.monotonic() > looked_at + RECHECK:
            space = await Space.find(self._client, self._space_name(fingerprint))
            if space is None:
                self._spaces.pop(fingerprint, None)
            else:
                self._spaces[fingerprint] = space, time.monotonic()
        return space

    async def _space_for(self, fingerprint: str, group: Sequence[Replacement]) -> Space | None:
        """The space to write to, ready for it; None where there is nothing to write and nothing to delete from."""
        space = await self._space(fingerprint)
        if space is None and any(r.points for r in group):
            await Space.create(self._client, self._space_name(fingerprint), group[0].dimensions, self._layout)
            space = await self._space(fingerprint)
        if space is not None:
            await space.index_payload()
        return space

    def _space_name(self, fingerprint: str) -> str:
        return f"{self._name}-{fingerprint}"

    async def _fingerprints(self) -> list[str]:
        async with self._contact():
            names = [each.name for each in (await self._client.get_collections()).collections]
        start = self._space_name("")
        return sorted(name.removeprefix(start) for name in names if name.startswith(start))


def _key(of: Scope | Replacement) -> str:
    """Tenant and generation as the one value that every point carries and every search filters by."""
    return f"{of.generation}/{of.tenant}"


def _scope(key: str, fingerprint: str) -> Scope:
    generation, _, tenant = key.partition("/")
    return Scope(tenant=tenant, generation=UUID(generation), fingerprint=fingerprint)
