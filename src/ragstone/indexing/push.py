"""The source of documents that are sent here: it lists and fetches what the catalog keeps of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from urllib.parse import quote

from ragstone.catalog.catalog import Catalog
from ragstone.catalog.queue import Job
from ragstone.errors import DocumentTooLarge, UnreadableDocument
from ragstone.indexing.pipeline import LONGEST_URI
from ragstone.models import Collection, Fetched, Item, Skip


class Push:
    """Documents by a key of the sender's. A change is kept and enqueued; a worker indexes it as it does all others.

    A document's URI is `push:<source>/<key>`.
    """

    def __init__(self, name: str, catalog: Catalog, collection: Collection) -> None:
        self.name = name
        self._catalog = catalog
        self._collection = collection

    @property
    def prefix(self) -> str:
        return f"push:{quote(self.name, safe='')}/"

    def uri(self, key: str) -> str:
        """Raises UnreadableDocument for a key that cannot be kept."""
        try:
            uri = self.prefix + quote(key, safe="/")
        except UnicodeEncodeError as error:
            raise UnreadableDocument(f"the key {key!r} is no text: {error.reason}") from None
        if not key or "\0" in key or len(uri) > LONGEST_URI:
            raise UnreadableDocument(
                f"the key {key[:50]!r} cannot be kept",
                hint=f"a key is not empty, has no NUL in it, and its URI no more than {LONGEST_URI} bytes",
            )
        return uri

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        name: str = "",
        version: int | None = None,
        charset: str | None = None,
        modified_at: datetime | None = None,
    ) -> bool:
        """Take a document. When this returns it is safe: it will be indexed, whatever happens to this process.

        False when a version as high, or its deletion, was taken before: this one comes too late and changes nothing.
        Without versions the order of arrival counts.
        """
        item = Item(uri=self.uri(key), revision=None, name=name or key, modified_at=modified_at)
        return await self._take(item, data, version, charset)

    async def delete(self, key: str, *, version: int | None = None) -> bool:
        """Take a deletion, with the promises of `put`."""
        return await self._take(Item(uri=self.uri(key), revision=None, name=key), None, version, None)

    async def _take(self, item: Item, data: bytes | None, version: int | None, charset: str | None) -> bool:
        timely = await self._catalog.pushed.put(
            self._collection, self.name, item, data, version=version, charset=charset
        )
        if timely:
            await self._catalog.queue.add(self._collection, [Job(source=self.name, uri=item.uri)])
        return timely

    async def items(self) -> AsyncIterator[Item | Skip]:
        """What was sent and not deleted. Raises CatalogError."""
        for item in await self._catalog.pushed.items(self._collection, self.name):
            yield item

    async def look(self, uri: str) -> Item | Skip | None:
        items = await self._catalog.pushed.items(self._collection, self.name, uri)
        return items[0] if items else None

    async def fetch(self, item: Item, limit: int, known: str | None = None) -> Fetched | None:
        fetched = await self._catalog.pushed.content(self._collection, self.name, item.uri)
        if fetched is None:
            raise UnreadableDocument(f"{item.name} was deleted meanwhile")
        if len(fetched.data) > limit:
            raise DocumentTooLarge(
                f"{item.name} has {len(fetched.data):,} bytes, the limit is {limit:,}",
                hint="raise parsing.max_bytes, or send less",
            )
        return None if fetched.revision == known else fetched
