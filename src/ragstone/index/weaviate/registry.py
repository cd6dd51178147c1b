"""What a server holds: the position, and the scopes with their real names, in a small collection of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from weaviate import WeaviateAsyncClient
from weaviate.collections import CollectionAsync
from weaviate.collections.classes.data import DataObject
from weaviate.collections.classes.filters import Filter as Condition
from weaviate.exceptions import WeaviateBatchError

from ragstone.index.weaviate.layout import Layout, object_id, tenant_of
from ragstone.models import Scope

HEAD = object_id("head")
PAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Raises what the client raises."""

    client: WeaviateAsyncClient
    layout: Layout

    async def head(self) -> tuple[str, int]:
        """The catalog that is followed, and the position reached."""
        found = await self._find(HEAD)
        return ("", 0) if found is None else (found["source"], found["position"])

    async def move(self, source: str, position: int) -> None:
        await self._put(HEAD, {"source": source, "position": position})

    async def dimensions(self, scope: Scope) -> int | None:
        """Of the space of a scope that is there."""
        found = await self._find(_id(scope))
        return None if found is None else found["dimensions"]

    async def dimensions_of_space(self, fingerprint: str) -> int | None:
        condition = Condition.by_property("fingerprint").equal(fingerprint)
        found = await self._collection(write=False).query.fetch_objects(filters=condition, limit=1)
        return found.objects[0].properties["dimensions"] if found.objects else None

    async def add(self, scope: Scope, dimensions: int) -> None:
        stored: dict[str, str | int] = {
            "tenant": scope.tenant,
            "generation": str(scope.generation),
            "fingerprint": scope.fingerprint,
            "dimensions": dimensions,
        }
        await self._put(_id(scope), stored)

    async def remove(self, scope: Scope) -> None:
        await self._collection(write=True).data.delete_by_id(_id(scope))

    async def scopes(self) -> list[Scope]:
        """Every scope that was added, with or without points."""
        scopes: list[Scope] = []
        last: UUID | None = None
        while page := (await self._collection(write=False).query.fetch_objects(limit=PAGE, after=last)).objects:
            last = page[-1].uuid
            scopes += [
                Scope(
                    tenant=each.properties["tenant"],
                    generation=UUID(each.properties["generation"]),
                    fingerprint=each.properties["fingerprint"],
                )
                for each in page
                if each.uuid != HEAD
            ]
        return scopes

    def _collection(self, *, write: bool) -> CollectionAsync[Any, Any]:
        level = self.layout.writes if write else self.layout.reads
        return self.client.collections.use(self.layout.registry).with_consistency_level(level)

    async def _find(self, id: UUID) -> dict[str, Any] | None:  # noqa: A002
        found: Any = await self._collection(write=False).query.fetch_object_by_id(id)
        return None if found is None else found.properties

    async def _put(self, id: UUID, properties: dict[str, str | int]) -> None:  # noqa: A002
        done = await self._collection(write=True).data.insert_many([DataObject(properties=properties, uuid=id)])
        for error in done.errors.values():
            raise WeaviateBatchError(error.message)


def _id(scope: Scope) -> UUID:
    return object_id(f"{scope.fingerprint}\0{tenant_of(scope)}")
