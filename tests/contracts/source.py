"""What every source keeps to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ragstone.errors import DocumentTooLarge, SourceError, UnreadableDocument
from ragstone.models import Item, Skip
from ragstone.sources.base import Source


async def listed(source: Source) -> list[Item]:
    return [found async for found in source.items() if isinstance(found, Item)]


async def skipped(source: Source) -> list[Skip]:
    return [found async for found in source.items() if isinstance(found, Skip)]


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
        old = await source.fetch(first, 10**6)
        assert old == await source.fetch(first, len(old))
        assert old != await source.fetch(second, 10**6)
        change_one()
        assert await source.fetch(first, 10**6) != old

    async def test_more_than_the_limit_is_refused(self, source: Source) -> None:
        item = (await listed(source))[0]
        size = len(await source.fetch(item, 10**6))
        with pytest.raises(DocumentTooLarge):
            await source.fetch(item, size - 1)

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
        remove_all()
        with pytest.raises(SourceError, match="nothing was changed"):
            await listed(source)
