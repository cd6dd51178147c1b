"""A source lists what there is and fetches one thing at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from ragstone.models import Item, Skip


class Source(Protocol):
    """Where documents come from.

    `name` stands in listings; `prefix` starts the URI of every item, so that a document under the prefix that a
    complete listing no longer holds is known to be gone.
    """

    @property
    def name(self) -> str: ...

    @property
    def prefix(self) -> str: ...

    def items(self) -> AsyncIterator[Item | Skip]:
        """List everything. Something that cannot be read is a Skip and does not count as gone.

        A Skip whose URI ends with a slash speaks for all that starts with it: nothing in there counts as gone.

        Raises SourceError, before or during the listing, when the source as a whole cannot be read: the caller must
        then delete nothing.
        """
        ...

    async def fetch(self, item: Item, limit: int) -> bytes:
        """The bytes of one item. Raises DocumentError: UnreadableDocument, or DocumentTooLarge past `limit`."""
        ...
