"""Indexing through the door that commands use: what is read, embedded, deleted, skipped and refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from ragstone.app import Ragstone, open_ragstone
from ragstone.errors import NothingIndexed, SourceError
from ragstone.indexing.report import Report
from ragstone.settings import ChunkingSettings, EmbeddingSettings, IndexingSettings, IndexSettings, Settings

HANDBOOK = {
    "leave.md": "# Leave\n\nEveryone has thirty-one days of paid leave.\n\n## Sickness\n\nCall before nine.\n",
    "tea.md": "# Tea\n\nThe kettle on the second floor is descaled by the facilities team every Thursday.\n",
    "trains/pass.txt": "Season tickets for the train are ordered through the travel desk.\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in HANDBOOK.items():
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "docs"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(data_dir=tmp_path / "data", database={"url": database_url}, index=IndexSettings(url="exact"))


@pytest.fixture
async def ragstone(settings: Settings) -> AsyncIterator[Ragstone]:
    async with open_ragstone(settings) as opened:
        yield opened


async def _serving_changes(ragstone: Ragstone, before: UUID) -> bool:
    """A switch is made while questions are answered: the new generation answers as soon as its model is there."""
    for _ in range(100):
        if (await ragstone.serving()).id != before:
            return True
        await asyncio.sleep(0.05)
    return False


async def sync(ragstone: Ragstone, folder: Path, *, allow_empty: bool = False) -> Report:
    seen: list[int] = []
    report = await ragstone.upkeep.sync(
        ragstone.upkeep.source(str(folder)), lambda r: seen.append(r.done), allow_empty=allow_empty
    )
    assert seen == sorted(seen)
    assert seen[-1] == report.listed
    assert await ragstone.caught_up(10)
    return report


async def texts(ragstone: Ragstone, question: str) -> str:
    found = await ragstone.search(question, ragstone.settings.retrieval.model_copy(update={"min_cosine": -1}))
    return "\n".join(passage.text for passage in found.passages)


async def test_everything_is_indexed_once(ragstone: Ragstone, folder: Path) -> None:
    first = await sync(ragstone, folder)
    assert (first.published, first.unchanged, first.deleted, first.skipped) == (3, 0, 0, [])
    assert first.embedded == first.chunks >= 3
    again = await sync(ragstone, folder)
    assert (again.published, again.touched, again.unchanged, again.embedded) == (0, 0, 3, 0)
    assert "descaled" in await texts(ragstone, "Who takes care of the kettle?")


async def test_of_a_changed_document_only_the_changed_chunk_is_embedded(ragstone: Ragstone, folder: Path) -> None:
    parts = [f"## Part {n}\n\n" + f"Sentence about subject number {n} and its details. " * 20 for n in range(6)]
    (folder / "long.md").write_text("# Long\n\n" + "\n\n".join(parts))
    await sync(ragstone, folder)
    parts[3] = parts[3].replace("Sentence about subject number 3 and its details. ", "Giraffes. ", 1)
    (folder / "long.md").write_text("# Long\n\n" + "\n\n".join(parts))
    report = await sync(ragstone, folder)
    assert (report.published, report.unchanged) == (1, 3)
    assert report.embedded == 1
    assert report.reused == report.chunks - 1 > 3
    assert "Giraffes" in await texts(ragstone, "giraffes")


async def test_a_touched_file_is_not_parsed(ragstone: Ragstone, folder: Path) -> None:
    await sync(ragstone, folder)
    os.utime(folder / "tea.md", (1, 1))
    report = await sync(ragstone, folder)
    assert (report.published, report.touched, report.unchanged) == (0, 1, 2)
    assert "parse" not in report.seconds
    assert (await sync(ragstone, folder)).unchanged == 3


async def test_a_renamed_file_costs_no_embedding(ragstone: Ragstone, folder: Path) -> None:
    await sync(ragstone, folder)
    (folder / "leave.md").rename(folder / "holidays.md")
    report = await sync(ragstone, folder)
    assert (report.published, report.deleted, report.embedded) == (1, 1, 0)
    found = await ragstone.search("How many days of paid leave does everyone have?")
    assert {Path(p.uri).name for p in found.passages} == {"holidays.md"}


async def test_a_deleted_file_is_in_no_answer_at_once_even_when_the_index_still_has_it(
    ragstone: Ragstone, folder: Path
) -> None:
    await sync(ragstone, folder)
    (folder / "tea.md").unlink()
    report = await ragstone.upkeep.sync(ragstone.upkeep.source(str(folder)), lambda report: None)
    assert report.deleted == 1
    assert "descaled" not in await texts(ragstone, "Who takes care of the kettle?")  # no waiting for the index
    assert "thirty-one" in await texts(ragstone, "How many days of paid leave?")


async def test_one_file_of_an_indexed_folder_can_be_indexed_alone(ragstone: Ragstone, folder: Path) -> None:
    await sync(ragstone, folder)
    (folder / "tea.md").write_text("# Tea\n\nThere is no kettle any more.\n")
    report = await sync(ragstone, folder / "tea.md")
    assert (report.listed, report.published, report.deleted) == (1, 1, 0)
    assert (await sync(ragstone, folder)).unchanged == 3


async def test_a_file_alone_owns_no_other_file_whose_name_begins_like_its(ragstone: Ragstone, folder: Path) -> None:
    (folder / "tea.md.txt").write_text("Another file altogether.")
    await sync(ragstone, folder)
    assert (await sync(ragstone, folder / "tea.md")).deleted == 0
    assert (await sync(ragstone, folder)).unchanged == 4


async def test_what_cannot_be_indexed_is_listed_and_the_rest_goes_on(ragstone: Ragstone, folder: Path) -> None:
    (folder / "empty.md").write_text(" \n")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (folder / "nonsense.pdf").write_bytes(b"%PDF-1.7\nthis is no PDF")
    report = await sync(ragstone, folder)
    assert report.published == 3
    assert {Path(s.uri).name: s.code for s in report.skipped} == {
        "empty.md": "empty",
        "picture.png": "unsupported",
        "nonsense.pdf": "broken",
    }
    assert all(skip.reason for skip in report.skipped)


async def test_a_document_that_broke_keeps_its_old_version(ragstone: Ragstone, folder: Path) -> None:
    await sync(ragstone, folder)
    (folder / "tea.md").write_bytes(b"\x00\x01\x02\xff" * 500)
    report = await sync(ragstone, folder)
    assert [Path(s.uri).name for s in report.skipped] == ["tea.md"]
    assert report.deleted == 0
    assert "descaled" in await texts(ragstone, "Who takes care of the kettle?")


async def test_a_file_over_the_limit_is_skipped(settings: Settings, folder: Path) -> None:
    (folder / "huge.txt").write_text("word " * 1000)
    small = settings.model_copy(update={"parsing": settings.parsing.model_copy(update={"max_bytes": 1000})})
    async with open_ragstone(small) as ragstone:
        report = await sync(ragstone, folder)
    assert [(Path(s.uri).name, s.code) for s in report.skipped] == [("huge.txt", "too_large")]


async def test_a_folder_that_vanishes_deletes_nothing(ragstone: Ragstone, folder: Path) -> None:
    await sync(ragstone, folder)
    source = ragstone.upkeep.source(str(folder))
    folder.rename(folder.with_name("moved"))
    with pytest.raises(SourceError):
        await ragstone.upkeep.sync(source, lambda report: None)
    assert "descaled" in await texts(ragstone, "Who takes care of the kettle?")


async def test_an_empty_folder_deletes_nothing_unless_told_so(ragstone: Ragstone, folder: Path) -> None:
    await sync(ragstone, folder)
    for path in folder.rglob("*.*"):
        path.unlink()
    with pytest.raises(SourceError, match="3 of its documents are indexed"):
        await ragstone.upkeep.sync(ragstone.upkeep.source(str(folder)), lambda report: None)
    report = await sync(ragstone, folder, allow_empty=True)
    assert report.deleted == 3
    assert await texts(ragstone, "kettle") == ""


async def test_equal_documents_are_both_there_and_embedded_once(settings: Settings, folder: Path) -> None:
    (folder / "copy.md").write_text(HANDBOOK["tea.md"])
    single = settings.model_copy(update={"indexing": IndexingSettings(concurrency=1)})
    async with open_ragstone(single) as ragstone:
        report = await sync(ragstone, folder)
    assert report.published == 4
    assert report.embedded == report.chunks - 1


async def test_two_passes_at_once_do_the_work_once(settings: Settings, folder: Path) -> None:
    async with open_ragstone(settings) as one, open_ragstone(settings) as other:
        source = one.upkeep.source(str(folder))
        reports = await asyncio.gather(*(r.upkeep.sync(source, lambda report: None) for r in (one, other)))
        assert (await one.catalog.head()) == 3
    assert sum(r.published for r in reports) == 3
    assert [r.done for r in reports] == [3, 3]


async def test_nothing_indexed_is_told(ragstone: Ragstone) -> None:
    with pytest.raises(NothingIndexed) as raised:
        await ragstone.search("anything")
    assert "ragstone index" in raised.value.hint


async def test_after_a_change_of_chunking_the_collection_goes_on_as_it_was_built_until_reindexed(
    settings: Settings, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, folder)
    other = settings.model_copy(update={"chunking": ChunkingSettings(strategy="fixed", max_tokens=24, overlap=0)})
    async with open_ragstone(other) as ragstone:
        (folder / "new.md").write_text("# New\n\nVisitors sign in at the gate.")
        assert (await sync(ragstone, folder)).published == 1
        assert "strategy = structure" in caplog.text
        assert "ragstone reindex" in caplog.text
        assert "gate" in await texts(ragstone, "Where do visitors sign in?")
        before = (await ragstone.serving()).id
        done = await ragstone.upkeep.reindex(lambda report: None)
        assert [r.published for r in done.reports.values()] == [4]
        assert done.objections == []
        assert await _serving_changes(ragstone, before)
        (folder / "new.md").unlink()
        assert (await sync(ragstone, folder)).unchanged == 3
        assert "descaled" in await texts(ragstone, "Who takes care of the kettle?")


async def test_after_a_change_of_model_reading_and_writing_go_on_with_the_one_it_was_built_with(
    settings: Settings, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_ragstone(settings) as ragstone:
        await sync(ragstone, folder)
        spec = (await ragstone.serving()).fingerprint.spec
    precision = "fp32" if spec["precision"] != "fp32" else "int8"
    other = settings.model_copy(update={"embedding": EmbeddingSettings(precision=precision)})
    async with open_ragstone(other) as ragstone:
        assert "descaled" in await texts(ragstone, "Who takes care of the kettle?")
        (folder / "new.md").write_text("# New\n\nVisitors sign in at the gate.")
        assert (await sync(ragstone, folder)).published == 1
        assert "the model all-MiniLM-L6-v2" in caplog.text
        assert (await ragstone.serving()).fingerprint.spec == spec
