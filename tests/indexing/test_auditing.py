"""A worker's audits: when they are due, by one process, and what becomes of what they find."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from catalog.material import generation, version
from indexing.bench import until
from ragstone.catalog.catalog import Catalog
from ragstone.errors import IndexUnavailable
from ragstone.index.applier import Applier
from ragstone.index.exact import ExactIndex
from ragstone.indexing import auditing, metrics
from ragstone.indexing.auditing import index_name, keep_auditing
from ragstone.indexing.metrics import Metrics
from ragstone.indexing.tasks import end
from ragstone.models import Scope
from ragstone.settings import IndexSettings, Settings

DAY = timedelta(days=1)


class Counted(ExactIndex):
    """Counts its audits; the first few fail."""

    def __init__(self, *faults: Exception) -> None:
        super().__init__()
        self.faults = list(faults)
        self.audits = 0

    async def scopes(self) -> list[Scope]:
        self.audits += 1
        if self.faults:
            raise self.faults.pop(0)
        return await super().scopes()


@asynccontextmanager
async def filled(catalog: Catalog, *faults: Exception) -> AsyncIterator[Counted]:
    _, made = await generation(catalog)
    await catalog.publish(made, [version("a", ["one", "two"])])
    index = Counted(*faults)
    await Applier(catalog, index).catch_up()
    yield index


async def spoil(catalog: Catalog, index: ExactIndex) -> None:
    ((change,), position) = await catalog.replacements(0, 10)
    await index.apply([replace(change, points=change.points[1:])], position)


async def audited(catalog: Catalog) -> bool:
    return await catalog.auditing.last("here") is not None


async def test_an_index_is_audited_when_it_is_due_and_what_is_wrong_is_told(
    catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    async with filled(catalog) as index:
        await spoil(catalog, index)
        keeping = asyncio.create_task(keep_auditing(catalog, index, "here", DAY))
        await until(lambda: audited(catalog))
        last = await catalog.auditing.last("here")
        assert last is not None
        assert last.found == {"missing": 1}
        await until(lambda: told(caplog, "1 missing"))
        assert "`ragstone fsck` tells where, and mends it with --repair" in caplog.text
        await asyncio.sleep(0.2)
        assert index.audits == 1  # the next is due tomorrow
        await end(keeping)


async def told(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return words in caplog.text


async def test_one_process_audits_and_another_takes_over(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "LOOK", 0.05)
    async with filled(catalog) as first, filled(catalog) as second:
        await Applier(catalog, first).catch_up()
        keeping = asyncio.create_task(keep_auditing(catalog, first, "here", timedelta()))
        await until(lambda: reached(first, 2))
        waiting = asyncio.create_task(keep_auditing(catalog, second, "here", timedelta()))
        elsewhere = asyncio.create_task(keep_auditing(catalog, second, "elsewhere", DAY))
        await until(lambda: reached(second, 1))
        before = first.audits
        await until(lambda: reached(first, before + 3))
        assert second.audits == 1
        await end(keeping)
        await until(lambda: reached(second, 3))
        await end(waiting)
        await end(elsewhere)


async def reached(index: Counted, audits: int) -> bool:
    return index.audits >= audits


async def test_an_audit_that_fails_is_tried_again_and_ends_nothing(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(auditing, "AGAIN", 0.05)
    async with filled(catalog, IndexUnavailable("away"), ZeroDivisionError("a fault")) as index:
        with caplog.at_level(logging.INFO):
            keeping = asyncio.create_task(keep_auditing(catalog, index, "here", DAY))
            await until(lambda: audited(catalog))
            await until(lambda: told(caplog, "the index holds what the catalog does"))
            await end(keeping)
        assert index.audits == 3
        assert "the index was not audited: away" in caplog.text
        assert "ZeroDivisionError: a fault" in caplog.text


async def test_the_metrics_tell_what_the_last_audit_found_whoever_made_it(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "EVERY", 0.05)
    collection, _ = await generation(catalog)
    registry = CollectorRegistry()

    async def lag() -> int:
        return 0

    async def shows(kind: str, value: float) -> bool:
        return registry.get_sample_value("ragstone_index_divergence", {"kind": kind}) == value

    measuring = asyncio.create_task(Metrics(registry).keep_measuring(catalog, collection, lag, index="here"))
    await catalog.auditing.record("here", {"missing": 3})
    await until(lambda: shows("missing", 3))
    assert await shows("wrong_tenant", 0)
    last = await catalog.auditing.last("here")
    assert last is not None
    assert registry.get_sample_value("ragstone_index_audited_timestamp_seconds") == last.at.timestamp()
    await catalog.auditing.record("here", {})
    await until(lambda: shows("missing", 0))
    await end(measuring)


def test_indexes_of_one_catalog_have_names_of_their_own(tmp_path: Path) -> None:
    names = [index_name(Settings(data_dir=tmp_path / name)) for name in ("a", "b")]
    names.append(index_name(Settings(index=IndexSettings(url="qdrant+http://host:6333"))))
    assert len(set(names)) == 3
    assert names[2] == "qdrant+http://host:6333"
