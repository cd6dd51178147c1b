"""Documents that were sent here, not fetched: their bytes are kept, for there is nowhere to read them again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from ragstone.catalog.connections import Connections
from ragstone.models import Collection, Fetched, Item


class Pushed:
    """What was sent last to each URI of a collection. A deletion leaves a tombstone, until it is swept away."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def put(
        self,
        collection: Collection,
        source: str,
        item: Item,
        data: bytes | None,
        *,
        version: int | None = None,
        charset: str | None = None,
    ) -> bool:
        """Keep what was sent, None for a deletion. False when a version as high was there: this one comes too late.

        Without a version what comes later counts.
        """
        parameters = {
            "collection": collection.id,
            "source": source,
            "uri": item.uri,
            "version": version,
            "revision": hashlib.sha256(data or b"").hexdigest(),
            "name": item.name,
            "data": data,
            "charset": charset,
            "modified_at": item.modified_at,
        }
        return bool(await self._connections.run(collection.tenant, ("push",), parameters))

    async def items(self, collection: Collection, source: str, uri: str | None = None) -> Sequence[Item]:
        """What there is, but for what was deleted; of one URI when it is given."""
        parameters = {"collection": collection.id, "source": source, "uri": uri}
        rows = await self._connections.run(collection.tenant, ("pushed_items",), parameters)
        return [_item(*row[:-1]) for row in rows if not row[-1]]

    async def content(self, collection: Collection, source: str, uri: str) -> Fetched | None:
        """The bytes sent to a URI; None when they were deleted."""
        parameters = {"collection": collection.id, "source": source, "uri": uri}
        rows = await self._connections.run(collection.tenant, ("pushed_content",), parameters)
        if not rows:
            return None
        ((data, revision, charset, modified_at, _),) = rows
        return Fetched(data=data, revision=revision, charset=charset, modified_at=modified_at)

    async def forget(self, collection: Collection, source: str) -> None:
        """Remove all that was sent to a source, tombstones included."""
        parameters = {"collection": collection.id, "source": source}
        await self._connections.run(collection.tenant, ("forget_pushed",), parameters)


def _item(uri: str, revision: str, name: str, modified_at: datetime | None) -> Item:
    return Item(uri=uri, revision=revision, name=name, modified_at=modified_at)
