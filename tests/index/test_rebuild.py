"""An index is written anew from the catalog: while it serves, or from nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from catalog.material import generation, version
from ragstone.catalog.catalog import Catalog
from ragstone.errors import IndexUnavailable
from ragstone.index import rebuild as module
from ragstone.index.applier import Applier
from ragstone.index.audit import Auditor
from ragstone.index.exact import ExactIndex
from ragstone.index.rebuild import rebuild
from ragstone.indexing.tasks import end
from ragstone.models import Generation, Scope, scope_of

NAMES = "abc"


class Counted(ExactIndex):
    """Knows the least that a scope has held whenever somebody asked where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.least: dict[Scope, int] = {}

    async def position(self) -> int:
        for scope in self.least:
            self.least[scope] = min(self.least[scope], await self.count(scope))
        return await super().position()


@pytest.fixture
async def made(catalog: Catalog) -> Generation:
    collection, made = await generation(catalog)
    await catalog.publish(made, [version(name, [f"{name} {n}" for n in range(2)]) for name in "abcd"])
    await catalog.publish(made, [version("b", ["b anew"], revision="2")])
    await catalog.delete(collection, ["d"])
    return made


@pytest.fixture
async def index(catalog: Catalog, made: Generation) -> AsyncIterator[Counted]:
    index = Counted()
    following = asyncio.create_task(Applier(catalog, index, batch=2).run())
    assert await index.wait(await catalog.head(), 20)
    yield index
    await end(following)


async def damage(catalog: Catalog, index: ExactIndex) -> None:
    """Every document has lost its points, but for one whose hashes are wrong."""
    changes, _ = await catalog.replacements(0, 100)
    wrong = [replace(change, points=()) for change in changes]
    wrong.append(replace(changes[0], points=tuple(replace(p, hash=bytes(16)) for p in changes[0].points)))
    await index.apply(wrong, await index.position())


async def test_every_document_is_written_again_while_the_index_serves(
    catalog: Catalog, index: Counted, made: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.001)
    seen: list[tuple[int, int]] = []
    index.least = {scope_of(made): await index.count(scope_of(made))}
    assert await rebuild(catalog, index, lambda done, total: seen.append((done, total))) == 3
    assert index.least == {scope_of(made): 5}  # no point was ever gone
    assert seen[-1] == (3, 3)
    await damage(catalog, index)
    assert not (await Auditor(catalog, index, "tested").audit()).clean
    await rebuild(catalog, index, lambda done, total: None)
    assert (await Auditor(catalog, index, "tested").audit()).clean


async def test_from_scratch_the_index_is_emptied_first(catalog: Catalog, index: Counted, made: Generation) -> None:
    await damage(catalog, index)
    stray = replace((await catalog.replacements(0, 100))[0][0], tenant="nobody")
    await index.apply([stray], await index.position())
    assert len(await index.scopes()) == 2
    assert await rebuild(catalog, index, lambda done, total: None, from_scratch=True) == 3
    assert await index.scopes() == [scope_of(made)]
    assert await index.source() == await catalog.identity()
    assert (await Auditor(catalog, index, "tested").audit()).clean


class Raced(ExactIndex):
    """A batch that was under way when the index was emptied is written after it."""

    async def reset(self, source: str) -> None:
        await super().reset(source)
        if not source:
            await self.apply([], 10**6)


async def test_what_was_under_way_when_it_was_emptied_is_not_taken_for_the_end(
    catalog: Catalog, made: Generation
) -> None:
    index = Raced()
    await Applier(catalog, index).catch_up()
    rebuilding = asyncio.create_task(rebuild(catalog, index, lambda done, total: None, from_scratch=True))
    await asyncio.sleep(0.3)
    assert not rebuilding.done()
    following = asyncio.create_task(Applier(catalog, index).run())
    await rebuilding
    assert (await Auditor(catalog, index, "tested").audit()).clean
    await end(following)


async def test_an_index_that_nobody_feeds_is_given_up(
    catalog: Catalog, made: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALLED", 0.1)
    monkeypatch.setattr(module, "LOOK", 0.01)
    with pytest.raises(IndexUnavailable, match="moves no more"):
        await rebuild(catalog, ExactIndex(), lambda done, total: None)


async def test_a_catalog_without_documents_is_an_empty_index(catalog: Catalog) -> None:
    index = ExactIndex()
    following = asyncio.create_task(Applier(catalog, index).run())
    assert await rebuild(catalog, index, lambda done, total: None) == 0
    await end(following)
