"""What every source keeps to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import cast

import pytest

from ragstone.errors import DocumentTooLarge, SourceError, UnreadableDocument
from ragstone.models import Item, Skip
from ragstone.sources.base import Source, Watched


async def listed(source: Source) -> list[Item]:
    return [found async for found in source.items() if isinstance(found, Item)]


async def skipped(source: Source) -> list[Skip]:
    return [found async for found in source.items() if isinstance(found, Skip)]


async def content(source: Source, item: Item, limit: int = 10**6) -> bytes:
    fetched = await source.fetch(item, limit)
    assert fetched is not None
    return fetched.data


class SourceContract:
    """Subclasses give a `source` of at least two items, and ways to change what is behind it."""

    @pytest.fixture
    def source(self) -> Source:
        raise NotImplementedError

    @pytest.fixture
    def change_one(self) -> Callable[[], None]:
        """Changes the content of the first item."""
        raise NotImplementedError

    @pytest.fixture
    def remove_one(self) -> Callable[[], None]:
        """Removes the first item."""
        raise NotImplementedError

    @pytest.fixture
    def spoil_one(self) -> Callable[[], None]:
        """Adds something that is listed as skipped."""
        raise NotImplementedError

    @pytest.fixture
    def remove_all(self) -> Callable[[], None]:
        """Removes what the source itself stands on."""
        raise NotImplementedError

    async def test_items_are_under_the_prefix_once_and_in_the_same_order(self, source: Source) -> None:
        items = await listed(source)
        assert len(items) > 1
        assert all(item.uri.startswith(source.prefix) for item in items)
        assert len({item.uri for item in items}) == len(items)
        assert await listed(source) == items

    async def test_a_change_shows_in_the_revision_of_that_item_alone(
        self, source: Source, change_one: Callable[[], None]
    ) -> None:
        before = await listed(source)
        change_one()
        after = await listed(source)
        assert [item.uri for item in after] == [item.uri for item in before]
        assert [a.revision != b.revision for a, b in zip(after, before, strict=True)] == [
            True, *[False] * (len(before) - 1)
        ]  # fmt: skip

    async def test_fetching_gives_the_present_bytes(self, source: Source, change_one: Callable[[], None]) -> None:
        first, second, *_ = await listed(source)
        old = await content(source, first)
        assert old == await content(source, first, limit=len(old))
        assert old != await content(source, second)
        change_one()
        assert await content(source, first) != old

    async def test_fetched_bytes_come_with_their_own_revision(
        self, source: Source, change_one: Callable[[], None]
    ) -> None:
        stale = (await listed(source))[0]
        change_one()
        present = (await listed(source))[0]
        fetched = await source.fetch(stale, 10**6)
        assert fetched is not None
        assert stale.revision != fetched.revision
        assert present.revision in {None, fetched.revision}

    async def test_what_is_known_is_not_fetched_again(self, source: Source, change_one: Callable[[], None]) -> None:
        item = (await listed(source))[0]
        fetched = await source.fetch(item, 10**6)
        assert fetched is not None
        assert await source.fetch(item, 10**6, known=fetched.revision) is None
        change_one()
        assert await source.fetch(item, 10**6, known=fetched.revision) is not None

    async def test_more_than_the_limit_is_refused(self, source: Source) -> None:
        item = (await listed(source))[0]
        size = len(await content(source, item))
        with pytest.raises(DocumentTooLarge):
            await source.fetch(item, size - 1)

    async def test_looking_finds_what_a_listing_does(
        self, source: Source, spoil_one: Callable[[], None], change_one: Callable[[], None]
    ) -> None:
        spoil_one()
        for item in await listed(source):
            assert await source.look(item.uri) == item
        change_one()
        first = (await listed(source))[0]
        assert await source.look(first.uri) == first

    async def test_looking_finds_nothing_where_nothing_is(self, source: Source, remove_one: Callable[[], None]) -> None:
        first = (await listed(source))[0]
        remove_one()
        assert await source.look(first.uri) is None
        assert await source.look(source.prefix + "no/such%20thing") is None
        assert await source.look("elsewhere:" + first.uri) is None

    async def test_what_is_gone_cannot_be_fetched_and_is_not_listed(
        self, source: Source, remove_one: Callable[[], None]
    ) -> None:
        first, *others = await listed(source)
        remove_one()
        assert await listed(source) == others
        with pytest.raises(UnreadableDocument):
            await source.fetch(first, 10**6)

    async def test_what_is_gone_is_known_to_be_gone_beside_a_skip(
        self, source: Source, spoil_one: Callable[[], None], remove_one: Callable[[], None]
    ) -> None:
        first, *others = await listed(source)
        spoil_one()
        remove_one()
        (skip,) = await skipped(source)
        assert skip.uri.startswith(source.prefix)
        assert not (first.uri.startswith(skip.uri) if skip.uri.endswith("/") else first.uri == skip.uri)
        assert await listed(source) == others

    async def test_a_source_that_is_gone_lists_nothing_and_says_so(
        self, source: Source, remove_all: Callable[[], None]
    ) -> None:
        first = (await listed(source))[0]
        remove_all()
        with pytest.raises(SourceError, match="nothing was changed"):
            await listed(source)
        with pytest.raises(SourceError):
            await source.look(first.uri)


class WatchedContract:
    """For a source that can be watched. Subclasses are a SourceContract, too."""

    def test_it_can_be_watched(self, source: Source) -> None:
        assert isinstance(source, Watched)

    async def test_nothing_is_missed_from_the_first_wait_on(
        self, source: Watched, change_one: Callable[[], None], remove_one: Callable[[], None]
    ) -> None:
        before, *others = await listed(source)
        async with watching(source) as changes:
            waiting = asyncio.ensure_future(told(changes, before.uri))
            await asyncio.sleep(0)
            change_one()
            await waiting
            after = await source.look(before.uri)
            assert after is not None
            assert after != before
            remove_one()
            await told(changes, before.uri)
            assert await listed(source) == others

    async def test_it_stops_when_nobody_waits_any_more(self, source: Watched) -> None:
        async with watching(source) as changes:
            waiting = asyncio.ensure_future(all_of(changes))
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    async def test_a_source_that_is_gone_cannot_be_watched(
        self, source: Watched, remove_all: Callable[[], None]
    ) -> None:
        async with watching(source) as changes:
            waiting = asyncio.ensure_future(all_of(changes))
            await asyncio.sleep(0)
            remove_all()
            with pytest.raises(SourceError):
                await waiting


def watching(source: Watched) -> aclosing[AsyncGenerator[frozenset[str], None]]:
    return aclosing(cast(AsyncGenerator[frozenset[str], None], source.changes()))


async def told(changes: AsyncIterator[frozenset[str]], uri: str) -> None:
    """Waits for a hint that speaks for this URI."""
    async for hint in changes:
        if not hint or uri in hint:
            return


async def all_of(changes: AsyncIterator[frozenset[str]]) -> None:
    async for _ in changes:
        pass
