"""The index on a Weaviate server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from ragstone.errors import WrongDimensions
from ragstone.index.base import Health
from ragstone.index.filters import Filter
from ragstone.index.weaviate.conditions import within
from ragstone.index.weaviate.layout import Layout, make_registry, make_space, tenant_of
from ragstone.index.weaviate.points import AT_A_TIME, Points, Vector
from ragstone.index.weaviate.registry import Registry
from ragstone.index.weaviate.searching import Search
from ragstone.index.weaviate.server import Server
from ragstone.models import Entry, Hit, Replacement, Scope

EF = 128
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5  # seconds between looks at the position


class WeaviateIndex:
    """One writer, any number of readers; see docs/engines.md for what is guaranteed.

    BM25 scores are always by our own formula, with the rarity of words counted in the scope. Which chunks are scored
    is Weaviate's choice (`ragstone.index.weaviate.stems`): all that have a word of the question where these are fewer
    than four times `limit` or 256; else so many of its best that none beyond them can be among ours; at 4,096 the
    search ends, and what is missed is better than the last that is found by no more than 1/8 of the sum of the idf.
    """

    def __init__(self, server: Server, *, ef: int, layout: Layout) -> None:
        self._server = server
        self._ef = ef
        self._layout = layout
        self._made = False

    @classmethod
    def open(
        cls,
        address: str,
        *,
        api_key: str | None = None,
        ef: int | None = None,
        replicas: int = 1,
        write_consistency: int = 1,
        name: str = "Ragstone",
    ) -> WeaviateIndex:
        """On a server at http(s)://host:port?grpc=port, which is called when it is first needed.

        Collections there begin with `name`: a capital letter, then letters, digits and underscores.
        """
        layout = Layout(name=name, replicas=replicas, write_consistency=write_consistency)
        return cls(Server(address, api_key), ef=ef or EF, layout=layout)

    async def source(self) -> str:
        async with self._registry() as registry:
            return (await registry.head())[0]

    async def position(self) -> int:
        async with self._registry() as registry:
            return (await registry.head())[1]

    async def reset(self, source: str) -> None:
        """The source is taken last: one that is broken off is begun again."""
        async with self._registry(long=True) as registry:
            await registry.move("", 0)
            scopes = await registry.scopes()
            for name in {self._layout.space(scope.fingerprint) for scope in scopes}:
                await registry.client.collections.delete(name)
            for scope in scopes:
                await registry.remove(scope)
            await registry.move(source, 0)

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        async with self._registry(long=True) as registry:
            await _refuse_other_lengths(registry, replacements)
            for scope, documents in _by_scope(replacements).items():
                await self._put(registry, scope, list(documents.values()))
            source, reached = await registry.head()
            await registry.move(source, max(position, reached))

    async def _put(self, registry: Registry, scope: Scope, documents: Sequence[Replacement]) -> None:
        """The registry names a scope only once there is a place for its points: a search trusts it."""
        if await registry.dimensions(scope) is None:
            filled = next((each for each in documents if each.points), None)
            if filled is None:
                return
            await make_space(registry.client, scope.fingerprint, self._layout)
            tenants = registry.client.collections.use(self._layout.space(scope.fingerprint)).tenants
            if not await tenants.exists(tenant_of(scope)):
                await tenants.create(tenant_of(scope))
            await registry.add(scope, len(filled.points[0].vector))
        await Points.of(registry.client, scope, self._layout).put(documents)

    async def search(
        self,
        scope: Scope,
        *,
        vector: Vector | None,
        text: str | None,
        limit: int,
        where: Filter | None = None,
        ef: int | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        condition = within(where)
        async with self._registry(long=exact, made=True) as registry:
            points = await self._points(registry, scope, vector)
            if points is None or limit < 1 or condition is False:
                return []
            breadth = None if exact else ef or self._ef
            search = Search(points=points, limit=limit, where=condition, breadth=breadth)
            if vector is None:
                return [] if text is None else await search.by_text(text)
            return await (search.by_vector(vector) if text is None else search.by_both(vector, text))

    async def count(self, scope: Scope, where: Filter | None = None) -> int:
        condition = within(where)
        async with self._registry(made=True) as registry:
            points = await self._points(registry, scope)
            return 0 if points is None or condition is False else await points.count(condition)

    async def scan(self, scope: Scope) -> AsyncIterator[Sequence[Entry]]:
        last: UUID | None = None
        while page := await self._page(scope, last):
            yield page
            last = page[-1].chunk_id

    async def _page(self, scope: Scope, after: UUID | None) -> list[Entry]:
        async with self._registry(made=True) as registry:
            points = await self._points(registry, scope)
            return [] if points is None else await points.entries(after)

    async def scopes(self) -> list[Scope]:
        async with self._registry(long=True) as registry:
            return [scope for scope, points in await self._sizes(registry) if points]

    async def drop(self, scope: Scope) -> None:
        async with self._registry(long=True) as registry:
            await registry.remove(scope)
            name = self._layout.space(scope.fingerprint)
            if not await registry.client.collections.exists(name):
                return
            if await registry.dimensions_of_space(scope.fingerprint) is None:
                await registry.client.collections.delete(name)
            else:
                tenants = registry.client.collections.use(name).tenants
                if await tenants.exists(tenant_of(scope)):
                    await tenants.remove(tenant_of(scope))

    async def health(self) -> Health:
        async with self._registry(long=True) as registry:
            version = (await registry.client.get_meta())["version"]
            nodes = await registry.client.cluster.nodes(output="verbose")
            sizes = await self._sizes(registry)
            _, position = await registry.head()
        ours = {self._layout.space(scope.fingerprint) for scope, _ in sizes}
        shards = [shard for node in nodes for shard in node.shards if shard.collection in ours]
        points = sum(size for _, size in sizes)
        unbuilt = min(sum(shard.vector_queue_length for shard in shards), points)
        read_only = any(shard.vector_indexing_status == "READONLY" for shard in shards)
        return Health(
            engine="weaviate",
            version=str(version),
            state="read_only" if read_only else "building" if unbuilt else "ready",
            position=position,
            points=points,
            unbuilt=unbuilt,
            details={"nodes": len(nodes), "scopes": len(sizes)},
        )

    async def wait(self, position: int, timeout: float) -> bool:
        clock = asyncio.get_running_loop()
        deadline = clock.time() + timeout
        pause = FIRST_PAUSE
        while await self.position() < position:
            left = deadline - clock.time()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
        return True

    async def aclose(self) -> None:
        await self._server.aclose()

    @asynccontextmanager
    async def _registry(self, *, long: bool = False, made: bool = False) -> AsyncIterator[Registry]:
        """What the server holds. It may have been emptied: whoever asks for the position makes it anew."""
        async with self._server.session(long=long) as client:
            if not (made and self._made):
                await make_registry(client, self._layout)
                self._made = True
            yield Registry(client=client, layout=self._layout)

    async def _points(self, registry: Registry, scope: Scope, vector: Vector | None = None) -> Points | None:
        """None for a scope that holds nothing. Raises WrongDimensions for a vector of another length."""
        dimensions = await registry.dimensions(scope)
        if dimensions is None:
            return None
        if vector is not None and len(vector) != dimensions:
            raise WrongDimensions(f"the vector has {len(vector)} dimensions, those of its space {dimensions}")
        return Points.of(registry.client, scope, self._layout)

    async def _sizes(self, registry: Registry) -> list[tuple[Scope, int]]:
        """How many points each scope has."""
        scopes = await registry.scopes()
        sizes: list[int] = []
        for start in range(0, len(scopes), AT_A_TIME):
            some = [Points.of(registry.client, scope, self._layout) for scope in scopes[start : start + AT_A_TIME]]
            sizes += await asyncio.gather(*(points.count() for points in some))
        return list(zip(scopes, sizes, strict=True))


def _by_scope(replacements: Sequence[Replacement]) -> dict[Scope, dict[UUID, Replacement]]:
    """The last state of each document."""
    changes: dict[Scope, dict[UUID, Replacement]] = {}
    for each in replacements:
        scope = Scope(tenant=each.tenant, generation=each.generation, fingerprint=each.fingerprint)
        changes.setdefault(scope, {})[each.document_id] = each
    return changes


async def _refuse_other_lengths(registry: Registry, replacements: Sequence[Replacement]) -> None:
    known: dict[str, int] = {}
    for each in replacements:
        if not each.points:
            continue
        if each.fingerprint not in known:
            known[each.fingerprint] = await registry.dimensions_of_space(each.fingerprint) or each.dimensions
        for length in {len(point.vector) for point in each.points} - {known[each.fingerprint]}:
            raise WrongDimensions(
                f"a vector of document {each.document_id} has {length} dimensions, its space {known[each.fingerprint]}"
            )
