"""Reindexing, switching, going back and letting go, with a model that changes and documents that change meanwhile."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest

from indexing.models import Models, answers, serving, sync, write
from ragstone.app import Ragstone, open_ragstone
from ragstone.errors import CatalogError, NothingIndexed, SettingsError
from ragstone.evaluation.comparison import Question
from ragstone.indexing.report import Report
from ragstone.models import Collection, Fetched, Generation, Item, scope_of
from ragstone.settings import (
    IndexingSettings,
    IndexSettings,
    ParsingSettings,
    ReindexSettings,
    RetrievalSettings,
    Settings,
)
from ragstone.source_settings import FolderSource
from ragstone.sources.folder import Folder
from ragstone.upkeep import Reindexed

NAMES = ["heron", "badger", "salmon", "walnut", "granite", "copper", "violin", "harbour", "saffron", "glacier"]
DOCUMENTS = {f"{name}.md": f"# The {name}\n\nAll about the {name} of the north.\n" for name in NAMES}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "docs", DOCUMENTS)
    return tmp_path / "docs"


@pytest.fixture
def settings(models: Models, database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        database={"url": database_url},
        index=IndexSettings(url="exact"),
        embedding=models.settings("first"),
        indexing=IndexingSettings(concurrency=1),
        parsing=ParsingSettings(workers=1),
        retrieval=RetrievalSettings(mode="dense"),
    )


def other(settings: Settings, models: Models, model: str = "second", **changed: Any) -> Settings:
    return settings.model_copy(update={"embedding": models.settings(model), **changed})


async def reindex(settings: Settings, **how: Any) -> Reindexed:
    async with open_ragstone(settings) as ragstone:
        return await ragstone.upkeep.reindex(lambda report: None, **how)


async def collection_of(ragstone: Ragstone) -> Collection:
    collection = await ragstone.catalog.collection(ragstone.settings.tenant, ragstone.settings.collection)
    assert collection is not None
    return collection


async def generations(ragstone: Ragstone) -> list[Generation]:
    return await ragstone.catalog.generations(await collection_of(ragstone))


async def held(ragstone: Ragstone) -> list[dict[str, str]]:
    """For each generation the revision of each of its documents."""
    states = [await ragstone.catalog.states(generation) for generation in await generations(ragstone)]
    return [{Path(uri).name: state.revision for uri, state in documents.items()} for documents in states]


async def until_serves(ragstone: Ragstone, model: str) -> None:
    """Until a process that goes on has noticed the switch, and answers with this model."""
    async with asyncio.timeout(20):
        while True:
            if (await ragstone.serving()).fingerprint.spec["model"] == model:
                return
            await asyncio.sleep(0.05)


async def until_asked(models: Models, model: str) -> None:
    async with asyncio.timeout(20):
        while True:
            if models.documents(model):
                return
            await asyncio.sleep(0.01)


async def interrupted(settings: Settings, published: int) -> None:
    """A reindex that is cancelled when so many documents are published."""

    async with open_ragstone(settings) as ragstone:

        def progress(report: Report) -> None:
            if report.published >= published:
                running.cancel()

        running = asyncio.create_task(ragstone.upkeep.reindex(progress))
        with pytest.raises(asyncio.CancelledError):
            await running


def age(settings: Settings, hours: int) -> None:
    """Make all generations older."""
    assert settings.database.url is not None
    with psycopg.connect(settings.database.url.get_secret_value()) as connection:
        connection.execute(
            "UPDATE ragstone.generations SET created_at = created_at - make_interval(hours => %(hours)s),"
            " served_at = served_at - make_interval(hours => %(hours)s)",
            {"hours": hours},
        )


# --- building and switching -------------------------------------------------------------------------------------


async def test_a_generation_is_built_beside_the_serving_one_and_a_running_process_notices_the_switch(
    settings: Settings, models: Models, folder: Path
) -> None:
    async with open_ragstone(settings) as running:
        await sync(running, str(folder))
        former = (await running.serving()).id
        models.pause = 0.02
        building = asyncio.create_task(reindex(other(settings, models)))
        served = set()
        while not building.done():
            served.add((await running.serving()).fingerprint.spec["model"])
            assert "salmon" in await answers(running, "salmon")
        assert served == {"first"}
        done = building.result()
        assert done.objections == []
        assert (await collection_of(running)).serving == done.generation.id != former
        await until_serves(running, "second")
        assert "salmon" in await answers(running, "salmon")
        assert sorted(Counter(map(len, await held(running))).items()) == [(10, 2)]


async def test_changes_during_and_after_the_build_go_to_both_so_that_a_rollback_serves_them(
    settings: Settings, models: Models, folder: Path
) -> None:
    async with open_ragstone(settings) as running:
        await sync(running, str(folder))
        models.pause = 0.02
        building = asyncio.create_task(reindex(other(settings, models)))
        await until_asked(models, "second")
        write(folder, {"salmon.md": "# Salmon\n\nIt leaps at midsummer.", "otter.md": "# Otter\n\nIt sleeps afloat."})
        await sync(running, str(folder))
        await building
        models.pause = 0.0
        (folder / "walnut.md").unlink()
        write(folder, {"heron.md": "# Heron\n\nIt stands on one leg."})
        await sync(running, str(folder))
        old, new = await held(running)
        assert old == new
        assert old.keys() == DOCUMENTS.keys() - {"walnut.md"} | {"otter.md"}
        back = await running.upkeep.generations.rollback()
        assert back.fingerprint.spec["model"] == "first"
        await until_serves(running, "first")
        for word in ("midsummer", "afloat", "leg"):
            assert word in await answers(running, word)
        assert "walnut" not in await answers(running, "walnut")


async def test_an_interrupted_reindex_goes_on_and_embeds_only_the_rest(
    settings: Settings, models: Models, folder: Path
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, str(folder))
    await interrupted(other(settings, models), published=4)
    before = len(models.documents("second"))
    assert 4 <= before < len(DOCUMENTS)
    async with open_ragstone(settings) as ragstone:
        assert (await ragstone.serving()).fingerprint.spec["model"] == "first"
    done = await reindex(other(settings, models, reindex=ReindexSettings(questions=1)))
    assert done.objections == []
    built = [text for text in models.documents("second") if "All about" in text]
    assert len(built) == len(set(built)) == len(DOCUMENTS)


# --- the gate ---------------------------------------------------------------------------------------------------


async def test_a_worse_generation_is_refused_with_figures_and_the_old_one_serves_until_forced(
    settings: Settings, models: Models, folder: Path
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, str(folder))
    models.weights["second"] = "noise"
    worse = other(settings, models, reindex=ReindexSettings(k=1))
    questions = [
        Question(text=f"about the {name}", relevant={(folder / f"{name}.md").as_uri(): 1}) for name in NAMES[:8]
    ]
    done = await reindex(worse, questions=questions)
    compared = done.comparison
    assert compared is not None
    assert (compared.origin, compared.questions, compared.judged, compared.k) == ("given", 8, 8, 1)
    assert compared.ndcg_before == 1
    assert compared.ndcg_after is not None
    assert compared.ndcg_after == compared.overlap < 0.5  # with one document wanted and found before, they are one
    assert re.search(rf"overlap@1 is {compared.overlap:.3f}, at least 0.5", done.objections[0])
    assert re.search(rf"nDCG@1 falls from 1.000 to {compared.ndcg_after:.3f}, at most 0.02", done.objections[1])
    async with open_ragstone(worse) as ragstone:
        assert (await ragstone.serving()).fingerprint.spec["model"] == "first"
    forced = await reindex(worse, questions=questions, force=True)
    assert (forced.comparison, forced.objections) == (compared, [])
    async with open_ragstone(worse) as ragstone:
        assert (await ragstone.serving()).fingerprint.spec["model"] == "second"


async def test_questions_are_those_asked_where_there_are_enough_else_headings(
    settings: Settings, models: Models, folder: Path
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, str(folder))
        for name in NAMES[:3]:
            async for _ in ragstone.answer(f"What of the {name}?"):
                pass
    few = await reindex(other(settings, models, "second", reindex=ReindexSettings(questions=7)))
    assert few.comparison is not None
    assert (few.comparison.origin, few.comparison.questions, few.comparison.judged) == ("headings", 7, 7)
    enough = await reindex(other(settings, models, "third", reindex=ReindexSettings(questions=6)))
    assert enough.comparison is not None
    assert (enough.comparison.origin, enough.comparison.questions, enough.comparison.judged) == ("asked", 3, 0)


async def test_where_nothing_has_a_heading_the_few_questions_asked_must_do(
    settings: Settings, models: Models, tmp_path: Path
) -> None:
    write(tmp_path / "plain", {"a.txt": "The ferry leaves at noon.", "b.txt": "The mill was rebuilt."})
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, str(tmp_path / "plain"))
        async for _ in ragstone.answer("When does the ferry leave?"):
            pass
    done = await reindex(other(settings, models))
    assert done.comparison is not None
    assert (done.comparison.origin, done.comparison.questions) == ("asked", 1)


# --- going back -------------------------------------------------------------------------------------------------


async def test_a_rollback_can_be_rolled_back(settings: Settings, models: Models, folder: Path) -> None:
    async with open_ragstone(settings) as ragstone:
        with pytest.raises(NothingIndexed, match="former"):
            await ragstone.upkeep.generations.rollback()
        await sync(ragstone, str(folder))
        with pytest.raises(NothingIndexed, match="former"):
            await ragstone.upkeep.generations.rollback()
        await reindex(other(settings, models))
        went = [(await ragstone.upkeep.generations.rollback()).fingerprint.spec["model"] for _ in range(3)]
    assert went == ["first", "second", "first"]


# --- letting go -------------------------------------------------------------------------------------------------


async def test_a_replaced_generation_is_kept_for_its_time_then_dropped_with_its_vectors_and_points(
    settings: Settings, models: Models, folder: Path
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, str(folder))
        old = await ragstone.serving()
        done = await reindex(other(settings, models))
        age(settings, settings.indexing.standby_hours - 1)
        assert (await ragstone.upkeep.generations.gc()).generations == 0
        age(settings, 2)
        swept = await ragstone.upkeep.generations.gc()
        assert (swept.generations, swept.vectors) == (1, len(DOCUMENTS))
        assert [g.id for g in await generations(ragstone)] == [done.generation.id]
        assert await ragstone.caught_up(10)
        assert await ragstone.index.count(scope_of(old)) == 0
        assert await ragstone.index.count(scope_of(done.generation)) == len(DOCUMENTS)
        with pytest.raises(NothingIndexed, match="former"):
            await ragstone.upkeep.generations.rollback()
        with pytest.raises(CatalogError, match="any more"):
            await ragstone.catalog.serve(old)
        assert (await ragstone.upkeep.generations.gc(everything=True)).generations == 0  # what serves is never dropped
        await until_serves(ragstone, "second")
        assert "salmon" in await answers(ragstone, "salmon")


async def test_a_dropped_generation_can_be_built_again_and_is_not_swept_away_meanwhile(
    settings: Settings, models: Models, folder: Path
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, str(folder))
        old = (await ragstone.serving()).id
    await reindex(other(settings, models))
    age(settings, 1000)
    async with open_ragstone(settings) as ragstone:
        assert (await ragstone.upkeep.generations.gc()).generations == 1
        first = len(models.documents("first"))
    await interrupted(settings, published=4)
    async with open_ragstone(settings) as ragstone:
        assert (await ragstone.upkeep.generations.gc()).generations == 0
    done = await reindex(settings)
    assert (done.generation.id, done.objections) == (old, [])
    again = [text for text in models.documents("first")[first:] if "All about" in text]
    assert sorted(again) == sorted(set(again))
    assert len(again) == len(DOCUMENTS)
    async with open_ragstone(settings) as ragstone:
        assert [len(documents) for documents in await held(ragstone)] == [len(DOCUMENTS)] * 2
        assert "salmon" in await answers(ragstone, "salmon")


async def test_a_generation_that_is_being_built_is_not_let_go_however_long_it_takes(
    settings: Settings, models: Models, folder: Path
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, str(folder))
    models.pause = 0.2
    building = asyncio.create_task(reindex(other(settings, models)))
    await until_asked(models, "second")
    await asyncio.to_thread(age, settings, 1000)  # it may have to wait for what is being published
    async with open_ragstone(settings) as ragstone:
        assert (await ragstone.upkeep.generations.gc()).generations == 0
        assert (await ragstone.upkeep.generations.gc(everything=True)).generations == 0
    assert (await building).objections == []


async def test_nothing_is_written_to_a_generation_of_a_newer_release(
    settings: Settings, models: Models, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, str(folder))
        write(folder, {"otter.md": "# Otter\n\nIt sleeps afloat."})
        monkeypatch.setattr("ragstone.parsing.parse.PARSER_VERSION", "0")
        with pytest.raises(SettingsError, match="newer parser"):
            await sync(ragstone, str(folder))
        monkeypatch.undo()
        await sync(ragstone, str(folder))
        assert "otter.md" in (await held(ragstone))[0]


async def test_tokens_and_money_are_told_of_each_pass(settings: Settings, models: Models, folder: Path) -> None:
    priced = settings.model_copy(update={"embedding": models.settings("first", price=2.0)})
    async with open_ragstone(priced) as ragstone:
        await sync(ragstone, str(folder))
        write(folder, {"otter.md": "# Otter\n\nIt sleeps afloat."})
        report = await sync(ragstone, str(folder))
        assert (report.embedded, report.tokens) == (1, 1)
        assert report.money == pytest.approx(2e-6)


# --- models of older generations --------------------------------------------------------------------------------


async def test_a_key_goes_to_no_other_address_than_it_is_set_for(
    settings: Settings, models: Models, folder: Path
) -> None:
    with serving() as elsewhere:
        mine = settings.model_copy(update={"embedding": models.settings("first", api_key="key-of-first")})
        theirs = settings.model_copy(update={"embedding": elsewhere.settings("second", api_key="key-of-second")})
        async with open_ragstone(mine) as ragstone:
            await sync(ragstone, str(folder))
        assert models.keys == {"Bearer key-of-first"}
        models.keys.clear()
        await reindex(theirs)
        write(folder, {"otter.md": "# Otter\n\nIt sleeps afloat."})
        async with open_ragstone(theirs) as ragstone:
            await sync(ragstone, str(folder))
            await ragstone.upkeep.generations.check_drift()
        assert any("afloat" in text for text in models.documents("first"))
        assert "Bearer key-of-second" not in models.keys
        assert elsewhere.keys == {"Bearer key-of-second"}


async def test_a_question_that_is_cancelled_takes_no_other_one_along(
    settings: Settings, models: Models, folder: Path
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, str(folder))
    async with open_ragstone(settings) as ragstone:
        models.pause = 0.5
        first, second = (asyncio.create_task(ragstone.search("salmon")) for _ in range(2))
        await asyncio.sleep(0.2)
        first.cancel()
        assert "salmon" in (await second).passages[0].text


class DropsMeanwhile(Folder):
    """Drops a generation while a document is fetched: after it was observed, before it is published."""

    def __init__(self, ragstone: Ragstone, path: Path, dropped: Generation) -> None:
        super().__init__(str(path), FolderSource(path=path))
        self._ragstone = ragstone
        self._dropped = dropped

    async def fetch(self, item: Item, limit: int, known: str | None = None) -> Fetched | None:
        await self._ragstone.catalog.drop(await collection_of(self._ragstone), self._dropped)
        return await super().fetch(item, limit, known)


async def test_a_generation_that_is_dropped_while_a_document_is_worked_on_is_passed_over(
    settings: Settings, models: Models, folder: Path
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, str(folder))
    changed = other(settings, models)
    assert (await reindex(changed)).objections == []
    (folder / "heron.md").write_text("# The heron\n\nIt has flown south.\n")
    async with open_ragstone(changed) as ragstone:
        first, second = await generations(ragstone)
        report = await ragstone.upkeep.sync(DropsMeanwhile(ragstone, folder, first), lambda report: None)
        assert (report.published, report.skipped) == (1, [])
        assert [generation.id for generation in await generations(ragstone)] == [second.id]
        stats = await ragstone.catalog.stats(await collection_of(ragstone))
    assert [one.documents for one in stats.generations if one.generation == second.id] == [len(NAMES)]
