"""What a plan says, against what the reindex then does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from embedding import tiny
from indexing.models import Models, sync, write
from ragstone.app import open_ragstone
from ragstone.indexing.plan import Plan
from ragstone.indexing.report import Report
from ragstone.settings import (
    ChunkingSettings,
    EmbeddingSettings,
    IndexingSettings,
    IndexSettings,
    ParsingSettings,
    Settings,
)
from ragstone.source_settings import FolderSource


def document(name: str, parts: int) -> str:
    return f"# {name}\n\n" + "\n\n".join(f"## Part {n}\n\n" + f"Of {name} number {n}. " * 30 for n in range(parts))


DOCUMENTS = {
    f"{name}.md": document(name, parts) for name, parts in zip("abcdefgh", (1, 2, 3, 4, 1, 2, 3, 4), strict=True)
}
TWIN = {"twin.md": DOCUMENTS["d.md"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "docs", DOCUMENTS | TWIN)
    return tmp_path / "docs"


@pytest.fixture
def settings(models: Models, database_url: str, tmp_path: Path, folder: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        database={"url": database_url},
        index=IndexSettings(url="exact"),
        embedding=models.settings("first", price=2.0),
        indexing=IndexingSettings(concurrency=1),
        parsing=ParsingSettings(workers=1),
        sources={"docs": FolderSource(path=folder)},
    )


def rechunked(settings: Settings, strategy: str = "fixed") -> Settings:
    chunking = ChunkingSettings.model_validate({"strategy": strategy, "max_tokens": 120})
    return settings.model_copy(update={"chunking": chunking})


async def index(settings: Settings) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, "docs")


async def plan(settings: Settings, sample: int = 1000) -> Plan:
    async with open_ragstone(settings) as ragstone:
        return await ragstone.upkeep.plan(lambda report: None, sample=sample)


async def reindex(settings: Settings) -> Report:
    async with open_ragstone(settings) as ragstone:
        done = await ragstone.upkeep.reindex(lambda report: None, force=True)
        (report,) = done.reports.values()
        return report


def rows(settings: Settings) -> Mapping[str, Sequence[tuple[object, ...]]]:
    """All that the catalog and its queue hold."""
    assert settings.database.url is not None
    with psycopg.connect(settings.database.url.get_secret_value()) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('ragstone', 'ragstone_queue')"
        ).fetchall()
        assert len(tables) > 10
        query = SQL("SELECT t::text FROM {} t ORDER BY 1")
        return {name: connection.execute(query.format(Identifier(schema, name))).fetchall() for schema, name in tables}


@pytest.mark.parametrize("changed", ["chunking", "model"])
async def test_a_plan_over_all_documents_says_exactly_what_the_reindex_does(
    settings: Settings, models: Models, folder: Path, changed: str
) -> None:
    await index(settings)
    write(folder, {"new.md": document("new", 2)})
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 this is none")
    (folder / "empty.md").write_text(" \n")
    other = rechunked(settings)
    if changed == "model":
        other = settings.model_copy(update={"embedding": models.settings("second", price=2.0)})
    planned = await plan(other)
    assert (planned.documents, planned.unchanged, planned.skipped) == (len(DOCUMENTS) + 4, 0, 1)
    assert (planned.to_index, planned.sampled, planned.failed) == (len(DOCUMENTS) + 4, len(DOCUMENTS) + 4, 2)
    assert (planned.seconds, planned.money) == (None, planned.tokens * 2.0 / 1e6)
    await index(settings)  # so that the reindex writes to the new generation alone
    model = other.embedding.model
    before = set(models.documents(model))
    report = await reindex(other)
    assert report.published == planned.to_index - planned.failed
    assert (report.chunks, report.reused) == (planned.chunks, planned.reused)
    assert report.embedded == planned.embedded > 0
    built = set(models.documents(model)) - before
    assert len({text for text in built if "number" in text}) == planned.embedded


async def test_texts_that_have_a_vector_are_not_counted_as_to_embed(settings: Settings) -> None:
    await index(settings)
    whole = settings.model_copy(update={"chunking": settings.chunking.model_copy(update={"max_tokens": 5000})})
    wider = await plan(whole)
    assert 0 < wider.embedded < wider.chunks  # sections are as they were where they fit both
    same = settings.model_copy(update={"chunking": settings.chunking.model_copy(update={"percentile": 50})})
    nothing = await plan(same)
    assert (nothing.embedded, nothing.tokens, nothing.money) == (0, 0, 0)
    assert nothing.reused == nothing.chunks > 0


async def test_what_a_generation_of_these_settings_holds_already_needs_nothing(
    settings: Settings, folder: Path
) -> None:
    await index(settings)
    none = await plan(settings)
    assert (none.documents, none.unchanged, none.to_index, none.chunks) == (9, 9, 0, 0)
    write(folder, {"a.md": document("another", 3)})
    one = await plan(settings)
    assert (one.unchanged, one.to_index, one.sampled) == (8, 1, 1)


async def test_a_plan_changes_nothing(settings: Settings, models: Models, folder: Path) -> None:
    await index(settings)
    write(folder, {"new.md": document("new", 2)})
    (folder / "b.md").unlink()
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 this is none")
    before, embedded = rows(settings), dict(models.embedded)
    await plan(rechunked(settings))
    await plan(settings.model_copy(update={"embedding": models.settings("second")}))
    assert rows(settings) == before
    assert models.embedded == embedded  # an endpoint is not even asked


async def test_before_the_first_run_the_sources_of_the_settings_are_planned(settings: Settings) -> None:
    planned = await plan(settings)
    assert (planned.to_index, planned.unchanged) == (9, 0)
    assert planned.embedded > 0


async def test_a_sample_is_scaled_up(settings: Settings, folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    write(folder, {f"{n}.md": document(f"number{n:02}", 2) for n in range(12)})
    await index(settings)
    other = rechunked(settings)
    exact, estimated = await plan(other), await plan(other, sample=3)
    assert (estimated.sampled, estimated.to_index) == (3, 12)
    assert (estimated.chunks, estimated.embedded) == (exact.chunks, exact.embedded)
    assert estimated.tokens == pytest.approx(exact.tokens, rel=0.05)


async def test_semantic_chunking_is_planned_too(settings: Settings) -> None:
    await index(settings)
    other = rechunked(settings, "semantic")
    planned = await plan(other)
    report = await reindex(other)
    assert (report.chunks, report.embedded) == (planned.chunks, planned.embedded)


async def test_a_local_model_takes_time_and_no_money(settings: Settings, tmp_path: Path) -> None:
    await index(settings)
    local = EmbeddingSettings(model=str(tiny.write_bert(tmp_path / "model")))
    planned = await plan(settings.model_copy(update={"embedding": local}))
    assert planned.money == 0
    assert planned.seconds is not None
    assert planned.seconds > 0
