"""A source lists what there is and fetches one thing at a time; some can also tell at once what changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from ragstone.models import Fetched, Item, Skip


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

    async def look(self, uri: str) -> Item | Skip | None:
        """One thing as `items` would list it now; None when that would not list it (it is gone, or excluded).

        Raises SourceError when the source as a whole cannot be read.
        """
        ...

    async def fetch(self, item: Item, limit: int, known: str | None = None) -> Fetched | None:
        """The bytes of one item, or None when its revision still is `known`.

        Raises a DocumentError: UnreadableDocument, DocumentGone when the thing is listed and yet gone,
        DocumentUnavailable when a later try may succeed, or DocumentTooLarge past `limit` bytes.
        """
        ...


@runtime_checkable
class Watched(Source, Protocol):
    """A source that tells what may have changed, soon after it did."""

    def changes(self) -> AsyncIterator[frozenset[str]]:
        """The URIs of things that may have been made, changed or removed, gathered until there is a pause.

        An empty set says that something changed that no URI can be told for: only a whole listing will show it. The
        iterator goes on until it is closed, and begins to watch before its first `__anext__` waits. A hint may be
        wrong or come twice; none may be missed while it watches. Raises SourceError when it can watch no longer.
        """
        ...
