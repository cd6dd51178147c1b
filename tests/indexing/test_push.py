"""Documents that are sent here: in any order, with or without versions, and all that was taken is indexed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from contracts.source import content, listed
from indexing.models import Models, answers, sync, write
from ragstone.app import Ragstone, open_ragstone
from ragstone.errors import SourceError, UnreadableDocument
from ragstone.indexing.push import Push
from ragstone.settings import ChunkingSettings, IndexSettings, ParsingSettings, Settings
from ragstone.source_settings import FolderSource, PushSource

OPERATIONS = st.lists(st.tuples(st.sampled_from(["put", "delete"]), st.integers(-3, 6)), min_size=1, max_size=8)


@pytest.fixture
def settings(models: Models, database_url: str, tmp_path: Path) -> Settings:
    write(tmp_path / "docs", {"tea.md": "# Tea\n\nThe kettle is descaled.\n"})
    return Settings(
        data_dir=tmp_path / "data",
        database={"url": database_url},
        index=IndexSettings(url="exact"),
        embedding=models.settings(),
        parsing=ParsingSettings(workers=1, max_bytes=1000),
        sources={"docs": FolderSource(path=tmp_path / "docs"), "mail": PushSource(), "more": PushSource()},
    )


@pytest.fixture
async def ragstone(settings: Settings) -> AsyncIterator[Ragstone]:
    async with open_ragstone(settings) as opened:
        await sync(opened, "docs")
        yield opened


@pytest.fixture
async def push(ragstone: Ragstone) -> Push:
    return await ragstone.upkeep.push("mail")


async def drain(ragstone: Ragstone) -> None:
    """Work on the queue, by a pass over another source: what was sent must be in it already."""
    await sync(ragstone, "docs")


async def indexed(ragstone: Ragstone, push: Push) -> set[str]:
    """The URIs of what is indexed of a push source."""
    return set(await ragstone.catalog.states(await ragstone.serving(), push.prefix))


async def test_what_is_sent_is_indexed_replaced_and_deleted(ragstone: Ragstone, push: Push) -> None:
    assert await push.put("trips/coast.md", b"# Coast\n\nThe lighthouse is open.")
    assert await push.put("noted", b"# Note\n\nThe quarry is closed.", name="noted.md")
    await drain(ragstone)
    assert await indexed(ragstone, push) == {"push:mail/trips/coast.md", "push:mail/noted"}
    assert "lighthouse" in await answers(ragstone, "lighthouse")
    assert await push.put("trips/coast.md", b"# Coast\n\nThe tower is shut.")
    assert await push.delete("noted")
    await drain(ragstone)
    assert await indexed(ragstone, push) == {"push:mail/trips/coast.md"}
    found = await answers(ragstone, "lighthouse quarry tower")
    assert ("tower" in found, "lighthouse" in found, "quarry" in found) == (True, False, False)


@given(operations=OPERATIONS, drained=st.sets(st.integers(0, 8), max_size=1))
@how(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_highest_version_wins_in_whatever_order_it_comes(
    ragstone: Ragstone, push: Push, operations: list[tuple[str, int]], drained: set[int]
) -> None:
    key = f"{uuid4()}.txt"
    highest, text = -99, None
    for place, (operation, version) in enumerate(operations):
        timely = version > highest
        sent = f"Sent at {place} as {version}."
        if operation == "put":
            assert await push.put(key, sent.encode(), version=version) is timely
        else:
            assert await push.delete(key, version=version) is timely
        if timely:
            highest, text = version, sent if operation == "put" else None
        if place in drained:
            await drain(ragstone)
    await drain(ragstone)
    state = (await ragstone.catalog.states(await ragstone.serving())).get(push.uri(key))
    assert (state is not None) is (text is not None)
    found = await answers(ragstone, " ".join(f"Sent at {place}" for place in range(9)))
    assert text is None or text in found


async def test_without_versions_the_order_of_arrival_counts_after_any_version(ragstone: Ragstone, push: Push) -> None:
    far = 2**62
    assert await push.put("a.txt", b"The first.", version=far)
    assert await push.put("a.txt", b"The second.")
    assert await push.delete("a.txt")
    assert await push.put("a.txt", b"The third.")
    assert not await push.put("a.txt", b"Too late.", version=far)
    await drain(ragstone)
    (item,) = await listed(push)
    assert await content(push, item) == b"The third."
    assert "third" in await answers(ragstone, "third")


async def test_a_tombstone_holds_against_a_late_version(ragstone: Ragstone, push: Push) -> None:
    assert await push.delete("a.txt", version=5)
    assert not await push.put("a.txt", b"From before.", version=4)
    await drain(ragstone)
    assert await listed(push) == []
    assert await indexed(ragstone, push) == set()
    assert await push.put("a.txt", b"From after.", version=6)
    await drain(ragstone)
    assert await indexed(ragstone, push) == {"push:mail/a.txt"}


async def test_what_was_taken_is_indexed_by_whoever_comes_next(settings: Settings, models: Models) -> None:
    """Sent to a process that is gone by then, before anything else was indexed."""
    async with open_ragstone(settings) as ragstone:
        assert await (await ragstone.upkeep.push("mail")).put("a.txt", b"The lighthouse is open.")
    async with open_ragstone(settings) as ragstone:
        await drain(ragstone)
        assert "lighthouse" in await answers(ragstone, "lighthouse")


async def test_a_pass_over_a_push_source_does_what_its_jobs_do(ragstone: Ragstone, push: Push) -> None:
    await push.put("a.txt", b"The lighthouse is open.")
    report = await sync(ragstone, "mail")
    assert (report.listed, report.published, report.deleted) == (1, 1, 0)
    assert (await sync(ragstone, "mail")).unchanged == 1
    await push.delete("a.txt")  # the last one: an empty list is no mistake here
    await sync(ragstone, "mail")
    assert await indexed(ragstone, push) == set()


async def test_what_is_too_large_is_put_down_and_the_old_version_serves(ragstone: Ragstone, push: Push) -> None:
    await push.put("a.txt", b"The lighthouse is open.")
    await drain(ragstone)
    await push.put("a.txt", b"word " * 1000)
    await push.put("b.txt", b"The quarry is closed.")
    report = await sync(ragstone, "mail")
    assert [(skip.uri, skip.code) for skip in report.skipped] == [("push:mail/a.txt", "too_large")]
    assert "lighthouse" in await answers(ragstone, "lighthouse")
    assert "quarry" in await answers(ragstone, "quarry")
    await push.put("a.txt", b"The tower is shut.")
    assert (await sync(ragstone, "mail")).skipped == []
    assert "tower" in await answers(ragstone, "tower")


async def test_sources_and_odd_keys_stay_apart(ragstone: Ragstone, push: Push) -> None:
    more = await ragstone.upkeep.push("more")
    keys = ["a b.txt", "ä/ö.txt", "a%20b.txt", "../up.txt", "x?y#z.txt"]
    for n, key in enumerate(keys):
        await push.put(key, f"Number {n}.".encode())
    await more.put(keys[0], b"Another.")
    await drain(ragstone)
    assert await indexed(ragstone, push) == {push.uri(key) for key in keys}
    assert len(await indexed(ragstone, push)) == len(keys)
    assert await indexed(ragstone, more) == {more.uri(keys[0])}
    await more.delete(keys[0])
    await drain(ragstone)
    assert len(await indexed(ragstone, push)) == len(keys)


async def test_a_reindex_includes_what_was_sent(ragstone: Ragstone, push: Push, settings: Settings) -> None:
    await push.put("a.txt", b"The lighthouse is open.")
    await drain(ragstone)
    other = settings.model_copy(update={"chunking": ChunkingSettings(strategy="fixed", max_tokens=64)})
    async with open_ragstone(other) as later:
        planned = await later.upkeep.plan(lambda report: None, sample=100)
        assert planned.documents == 2
        done = await later.upkeep.reindex(lambda report: None)
        assert (done.objections, set(done.reports)) == ([], {"docs", "mail"})
        assert await later.caught_up(10)
        assert await indexed(later, push) == {"push:mail/a.txt"}
        assert "lighthouse" in await answers(later, "lighthouse")


async def test_a_source_that_was_sent_to_can_be_forgotten(ragstone: Ragstone, push: Push) -> None:
    await push.put("a.txt", b"The lighthouse is open.")
    await drain(ragstone)
    await push.put("waiting.txt", b"Nobody has seen this.")
    assert await ragstone.upkeep.forget("mail") == 1
    await drain(ragstone)
    assert await indexed(ragstone, push) == set()
    assert await listed(push) == []


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", "ä" * 400])
async def test_a_key_that_cannot_be_kept_is_refused_at_once(ragstone: Ragstone, push: Push, key: str) -> None:
    with pytest.raises(UnreadableDocument, match="the key"):
        await push.put(key, b"text")
    assert await listed(push) == []


@pytest.mark.parametrize(("name", "word"), [("nobody", "nobody"), ("docs", "no push source")])
async def test_another_name_is_no_push_source(ragstone: Ragstone, name: str, word: str) -> None:
    with pytest.raises(SourceError, match=word):
        await ragstone.upkeep.push(name)
