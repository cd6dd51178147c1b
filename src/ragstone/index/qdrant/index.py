"""The index on a Qdrant server: its spaces, and how far they follow the catalog."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt
from qdrant_client import AsyncQdrantClient
from qdrant_client import models as q

from ragstone.errors import WrongDimensions
from ragstone.index import lexical
from ragstone.index.base import Health
from ragstone.index.filters import Filter
from ragstone.index.qdrant.conditions import compiled, within
from ragstone.index.qdrant.health import health_of
from ragstone.index.qdrant.search import Search
from ragstone.index.qdrant.server import Missing, check_version, qdrant_errors, require_completed
from ragstone.index.qdrant.space import ORDERING, Layout, Space
from ragstone.models import Entry, Hit, Replacement, Scope

LAYOUT = f"1; {lexical.SIGNATURE}"
"""An index of another layout is rebuilt."""

EF = 128
STATE = 1  # the id of the point that holds position and source
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.25  # seconds between looks at the position


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    source: str = ""
    position: int = 0


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
        self._spaces: dict[str, Space] = {}  # by fingerprint; only those that were there when last used
        self._has_state = False
        self._writing = asyncio.Lock()

    async def source(self) -> str:
        return (await self._state()).source

    async def position(self) -> int:
        return (await self._state()).position

    async def reset(self, source: str) -> None:
        """The position goes first: it must never stand for points that are not there."""
        async with self._writing:
            await self._record(_State())
            async with self._contact():
                for name in await self._space_names():
                    await self._client.delete_collection(name)
                self._spaces.clear()
            await self._record(_State(source=source))

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        newest = {(r.fingerprint, _key(r.tenant, r.generation), r.document_id): r for r in replacements}
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
            await self._record(_State(source=reached.source, position=max(reached.position, position)))

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
        async with self._contact():
            space = await self._space(scope.fingerprint)
            if space is None or limit < 1:
                return []
            if vector is not None and len(vector) != space.dimensions:
                raise _wrong(scope.fingerprint, space.dimensions, len(vector))
            search = Search(
                space=space,
                scope=_key(scope.tenant, scope.generation),
                limit=limit,
                where=where,
                ef=ef or self._ef,
                exact=exact,
            )
            return await search.hits(vector, text)

    async def count(self, scope: Scope, where: Filter | None = None) -> int:
        async with self._contact():
            space = await self._space(scope.fingerprint)
            conditions: list[q.Condition] = [within(_key(scope.tenant, scope.generation))]
            if where is not None:
                conditions.append(compiled(where))
            return 0 if space is None else await space.count(q.Filter(must=conditions))

    async def scan(self, scope: Scope) -> AsyncIterator[Sequence[Entry]]:
        offset: q.ExtendedPointId | None = None
        while True:
            async with self._contact():
                space = await self._space(scope.fingerprint)
                if space is None:
                    return
                entries, offset = await space.page(_key(scope.tenant, scope.generation), offset)
            if entries:
                yield entries
            if offset is None:
                return

    async def scopes(self) -> list[Scope]:
        found: list[Scope] = []
        async with self._contact():
            for fingerprint in await self._fingerprints():
                space = await self._space(fingerprint)
                keys = [] if space is None else await space.scopes()
                found.extend(_scope(key, fingerprint) for key in keys)
        return found

    async def drop(self, scope: Scope) -> None:
        """A space that holds nothing any more goes with its last scope."""
        async with self._writing, self._contact():
            space = await self._space(scope.fingerprint)
            if space is None:
                return
            await space.remove(_key(scope.tenant, scope.generation))
            if await space.is_empty():
                await self._client.delete_collection(space.name)
                self._spaces.pop(scope.fingerprint, None)

    async def health(self) -> Health:
        position = await self.position()
        async with self._contact():
            return await health_of(self._client, self._version, position, await self._space_names())

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
            self._has_state = False
            raise

    async def _state(self) -> _State:
        async with self._contact():
            if not self._has_state and not await self._client.collection_exists(self._name):
                return _State()
            self._has_state = True
            records = await self._client.retrieve(self._name, [STATE])
        payload = (records[0].payload or {}) if records else {}
        if payload.get("layout") != LAYOUT:
            return _State()
        return _State(source=payload["source"], position=payload["position"])

    async def _record(self, state: _State) -> None:
        payload = {"layout": LAYOUT, "source": state.source, "position": state.position}
        point = q.PointStruct(id=STATE, vector={}, payload=payload)
        async with self._contact():
            if not self._has_state and not await self._client.collection_exists(self._name):
                await self._client.create_collection(
                    self._name,
                    vectors_config={},
                    shard_number=1,
                    replication_factor=self._layout.replicas,
                    write_consistency_factor=self._layout.write_consistency,
                )
            self._has_state = True
            require_completed([await self._client.upsert(self._name, [point], wait=True, ordering=ORDERING)])

    async def _refuse_wrong_dimensions(self, replacements: Iterable[Replacement]) -> None:
        """Before anything is written."""
        async with self._contact():
            wanted: dict[str, int] = {}
            for r in replacements:
                if r.fingerprint not in wanted:
                    space = await self._space(r.fingerprint)
                    wanted[r.fingerprint] = r.dimensions if space is None else space.dimensions
                for point in r.points:
                    if len(point.vector) != wanted[r.fingerprint]:
                        raise _wrong(r.fingerprint, wanted[r.fingerprint], len(point.vector))

    async def _space(self, fingerprint: str) -> Space | None:
        if fingerprint not in self._spaces:
            space = await Space.find(self._client, f"{self._name}-{fingerprint}")
            if space is None:
                return None
            self._spaces[fingerprint] = space
        return self._spaces[fingerprint]

    async def _space_for(self, fingerprint: str, group: Sequence[Replacement]) -> Space | None:
        """The space to write to, ready for it; None where there is nothing to write and nothing to delete from."""
        space = await self._space(fingerprint)
        if space is None and any(r.points for r in group):
            name = f"{self._name}-{fingerprint}"
            space = self._spaces[fingerprint] = await Space.create(
                self._client, name, group[0].dimensions, self._layout
            )
        if space is not None:
            await space.index_payload()
        return space

    async def _space_names(self) -> list[str]:
        collections = (await self._client.get_collections()).collections
        return sorted(each.name for each in collections if each.name.startswith(f"{self._name}-"))

    async def _fingerprints(self) -> list[str]:
        return [name.removeprefix(f"{self._name}-") for name in await self._space_names()]


def _key(tenant: str, generation: UUID) -> str:
    """Tenant and generation as the one value that every point carries and every search filters by."""
    return f"{generation}/{tenant}"


def _scope(key: str, fingerprint: str) -> Scope:
    generation, _, tenant = key.partition("/")
    return Scope(tenant=tenant, generation=UUID(generation), fingerprint=fingerprint)


def _wrong(fingerprint: str, wanted: int, got: int) -> WrongDimensions:
    return WrongDimensions(
        f"a vector of {got} numbers does not belong to the space {fingerprint[:12]} of {wanted}",
        hint="the embedding settings and the generation do not belong together",
    )
