"""A model whose weights change under its name: noticed, written down, and nothing written with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedding import tiny
from indexing.models import Models, answers, sync, write
from ragstone.app import Ragstone, open_ragstone
from ragstone.errors import FingerprintMismatch, ProviderError
from ragstone.models import Collection, Generation
from ragstone.settings import DriftSettings, EmbeddingSettings, IndexSettings, ParsingSettings, Settings
from ragstone.source_settings import FolderSource, PushSource


@pytest.fixture
def settings(models: Models, database_url: str, tmp_path: Path) -> Settings:
    write(tmp_path / "docs", {"tea.md": "# Tea\n\nThe kettle is descaled.\n", "lift.md": "# Lift\n\nIt is oiled.\n"})
    return Settings(
        data_dir=tmp_path / "data",
        database={"url": database_url},
        index=IndexSettings(url="exact"),
        embedding=models.settings("first"),
        parsing=ParsingSettings(workers=1),
        sources={"docs": FolderSource(path=tmp_path / "docs"), "mail": PushSource()},
    )


async def collection_of(ragstone: Ragstone) -> Collection:
    collection = await ragstone.catalog.collection(ragstone.settings.tenant, ragstone.settings.collection)
    assert collection is not None
    return collection


async def generations(ragstone: Ragstone) -> list[Generation]:
    return await ragstone.catalog.generations(await collection_of(ragstone))


async def held(ragstone: Ragstone, generation: Generation) -> set[str]:
    return {uri.rpartition("/")[2] for uri in await ragstone.catalog.states(generation)}


async def test_a_check_puts_what_deviates_in_quarantine_and_lets_it_out_when_the_weights_are_back(
    settings: Settings, models: Models
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, "docs")
        ((_, fine),) = await ragstone.upkeep.generations.check_drift()
        assert fine is None
        models.weights["first"] = "others"
        ((_, deviation),) = await ragstone.upkeep.generations.check_drift()
        assert deviation is not None
        assert "changed under its name" in deviation
        (quarantined,) = await generations(ragstone)
        assert quarantined.quarantine == deviation
        assert quarantined.checked_at is not None
        del models.weights["first"]
        ((_, none),) = await ragstone.upkeep.generations.check_drift()
        (free,) = await generations(ragstone)
        assert (none, free.quarantine) == (None, None)
        assert free.checked_at is not None
        assert free.checked_at > quarantined.checked_at
        write(Path(settings.data_dir).parent / "docs", {"new.md": "# New\n\nVisitors sign in."})
        assert (await sync(ragstone, "docs")).published == 1


async def test_a_pass_notices_by_itself_and_writes_nothing(settings: Settings, models: Models, tmp_path: Path) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, "docs")
        head, embedded = await ragstone.catalog.head(), len(models.documents("first"))
        models.weights["first"] = "others"
        write(tmp_path / "docs", {"tea.md": "# Tea\n\nThere is no kettle.\n"})
        (tmp_path / "docs/lift.md").unlink()
        with pytest.raises(FingerprintMismatch, match="quarantine") as raised:
            await sync(ragstone, "docs")
        assert "ragstone drift" in raised.value.hint
        assert (await ragstone.catalog.head(), len(models.documents("first"))) == (head, embedded)
        assert (await generations(ragstone))[0].quarantine is not None


async def test_a_queued_job_publishes_nothing_into_a_generation_in_quarantine(
    settings: Settings, models: Models
) -> None:
    """Two generations, of which one deviates: the other goes on, and the one is brought up to date afterwards."""
    second = settings.model_copy(update={"embedding": models.settings("second")})
    async with open_ragstone(second) as ragstone:
        await sync(ragstone, "docs")
    async with open_ragstone(settings) as ragstone:
        assert (await ragstone.upkeep.reindex(lambda report: None, force=True)).objections == []
        models.weights["second"] = "others"
        old, new = await generations(ragstone)
        assert [deviation is None for _, deviation in await ragstone.upkeep.generations.check_drift()] == [False, True]
        push = await ragstone.upkeep.push("mail")
        await push.put("letter.txt", b"Greetings from the coast.")
        embedded = len(models.documents("second"))
        await sync(ragstone, "docs")
        assert await held(ragstone, old) == {"tea.md", "lift.md"}
        assert await held(ragstone, new) == {"tea.md", "lift.md", "letter.txt"}
        assert len(models.documents("second")) == embedded
        assert "coast" in await answers(ragstone, "coast")
        models.weights.clear()
        await ragstone.upkeep.generations.check_drift()
        await sync(ragstone, "mail")
        assert await held(ragstone, old) == {"tea.md", "lift.md", "letter.txt"}


async def test_a_job_of_the_serving_generation_waits_out_the_quarantine(settings: Settings, models: Models) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, "docs")
        models.weights["first"] = "others"
        await ragstone.upkeep.generations.check_drift()
        push = await ragstone.upkeep.push("mail")
        await push.put("letter.txt", b"Greetings from the coast.")
        (generation,) = await generations(ragstone)
        with pytest.raises(FingerprintMismatch):
            await sync(ragstone, "docs")
        assert await held(ragstone, generation) == {"tea.md", "lift.md"}
        models.weights.clear()
        await sync(ragstone, "docs")
        assert await held(ragstone, generation) == {"tea.md", "lift.md", "letter.txt"}


@pytest.mark.parametrize("queries", ["refuse", "continue"])
async def test_questions_meanwhile_are_refused_or_answered_as_it_is_set(
    settings: Settings, models: Models, queries: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragstone.app.NOTICED", 0.0)
    chosen = settings.model_copy(update={"drift": DriftSettings.model_validate({"queries": queries})})
    async with open_ragstone(chosen) as running:
        await sync(running, "docs")
        assert "kettle" in await answers(running, "kettle")
        models.weights["first"] = "others"
        async with open_ragstone(chosen) as other:
            await other.upkeep.generations.check_drift()
            for ragstone in (running, other):
                if queries == "continue":
                    assert "kettle" in await answers(ragstone, "kettle")
                else:
                    with pytest.raises(FingerprintMismatch, match="changed under its name"):
                        await answers(ragstone, "kettle")
            models.weights.clear()
            await other.upkeep.generations.check_drift()
        assert "kettle" in await answers(running, "kettle")


async def test_an_endpoint_that_does_not_answer_is_no_deviation_and_hides_no_other(
    settings: Settings, models: Models
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, "docs")
    local = tiny.write_bert(Path(settings.data_dir).parent / "model")
    later = settings.model_copy(update={"embedding": EmbeddingSettings(model=str(local))})
    async with open_ragstone(later) as ragstone:
        await ragstone.upkeep.reindex(lambda report: None, force=True)
        models.down = True
        before = await generations(ragstone)
        with pytest.raises(ProviderError):
            await ragstone.upkeep.generations.check_drift()
        silent, asked = await generations(ragstone)
        assert (silent.quarantine, silent.checked_at) == (None, before[0].checked_at)
        assert asked.checked_at is not None
        assert before[1].checked_at is not None
        assert asked.checked_at > before[1].checked_at


async def test_files_of_a_model_that_are_others_now_put_its_generation_in_quarantine(settings: Settings) -> None:
    """An older generation's model, in a folder that was written over."""
    folder = Path(settings.data_dir).parent / "model"
    tiny.write_bert(folder)
    local = settings.model_copy(update={"embedding": EmbeddingSettings(model=str(folder))})
    async with open_ragstone(local) as ragstone:
        await sync(ragstone, "docs")
    async with open_ragstone(settings) as ragstone:
        await ragstone.upkeep.reindex(lambda report: None, force=True)
    tiny.write_bert(folder, seed=2)
    async with open_ragstone(settings) as ragstone:
        assert [deviation is None for _, deviation in await ragstone.upkeep.generations.check_drift()] == [False, True]
        old, _ = await generations(ragstone)
        assert old.quarantine is not None
        write(Path(settings.data_dir).parent / "docs", {"new.md": "# New\n\nVisitors sign in."})
        assert (await sync(ragstone, "docs")).published == 1


async def test_a_generation_that_was_in_quarantine_is_built_on_when_its_model_is_back(
    settings: Settings, models: Models, tmp_path: Path
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, "docs")
        models.weights["first"] = "others"
        await ragstone.upkeep.generations.check_drift()
    revised = settings.model_copy(update={"embedding": models.settings("first", revision="others")})
    async with open_ragstone(revised) as ragstone:
        assert (await ragstone.upkeep.reindex(lambda report: None)).comparison is None
        write(tmp_path / "docs", {"new.md": "# New\n\nVisitors sign in."})
        await sync(ragstone, "docs")
    models.weights.clear()
    async with open_ragstone(settings) as ragstone:
        done = await ragstone.upkeep.reindex(lambda report: None)
        assert done.objections == []
        assert (await ragstone.serving()).id == done.generation.id
        assert "Visitors" in await answers(ragstone, "visitors")
