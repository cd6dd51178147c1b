"""Index processes of tests: started with a client, awaited until they are done or gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from catalog.material import vector
from contracts.points import scores
from ragstone.catalog.catalog import Catalog
from ragstone.index.applier import Applier
from ragstone.index.edge.client import EdgeIndex
from ragstone.index.exact import ExactIndex
from ragstone.models import Generation, scope_of


@asynccontextmanager
async def opened(data_dir: Path, url: str | None = None, **options: float | bool) -> AsyncIterator[EdgeIndex]:
    """A client; its process follows the catalog if there is a URL, and leaves with its last client."""
    chosen = {"linger": 0.0, "follow": url is not None, **options}
    index = EdgeIndex.open(
        data_dir,
        url,
        linger=float(chosen["linger"]),
        follow=bool(chosen["follow"]),
        build_after=int(chosen.get("build_after", 10_000)),
    )
    try:
        yield index
    finally:
        await index.aclose()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns once it holds."""
    async with asyncio.timeout(200):
        while not await condition():  # noqa: ASYNC110 (what is waited for happens in another process)
            await asyncio.sleep(0.02)


async def gone(process: int) -> None:
    """Returns once a process has ended."""

    async def ended() -> bool:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, os.WNOHANG)  # noqa: ASYNC222 (does not block)
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        return False

    await until(ended)


async def process_of(index: EdgeIndex) -> int:
    return int((await index.health()).details["process"])


async def built(index: EdgeIndex, fewer_than: int = 1) -> None:
    """Returns once all points but a few are in a graph."""

    async def settled() -> bool:
        health = await index.health()
        return health.state == "ready" and health.unbuilt < fewer_than

    await until(settled)


async def assert_same_as_exact(index: EdgeIndex, catalog: Catalog, made: Generation) -> None:
    """Once the index has all that the catalog has by now, it holds and finds the same as a brute-force one."""
    exact = ExactIndex()
    await Applier(catalog, exact).catch_up()
    assert await index.wait(await catalog.head(), timeout=60)
    scope = scope_of(made)
    assert await index.count(scope) == await exact.count(scope)
    for text in ("fox", "owl 3", "owl 7 title", "nothing"):
        question = {"vector": vector(text), "text": text, "limit": 2000}
        found, wanted = [scores(await each.search(scope, **question)) for each in (index, exact)]  # type: ignore[arg-type]
        assert found.keys() == wanted.keys()
        for chunk, (cosine, bm25) in wanted.items():
            assert found[chunk] == pytest.approx((cosine, bm25), abs=1e-3)
