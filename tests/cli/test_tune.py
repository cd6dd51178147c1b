"""`ragstone tune` on a collection of real documents: on an engine whose recall is known, and on real ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from index.forgetful import Forgetful
from postgres import Postgres
from ragstone.catalog.catalog import Catalog
from ragstone.cli.main import app
from ragstone.errors import IndexUnavailable, NothingIndexed, SettingsError
from ragstone.index.base import Health, Index
from ragstone.models import Collection, Generation
from ragstone.settings import Settings

SUBJECTS = ("kettle", "lift", "roof", "garden", "printer", "canteen", "garage", "library")
MATTERS = ("rules", "hours", "repair", "costs", "keys")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[dict[str, str]]:
    """A collection `default` of forty documents, and one `blank` without a heading."""
    folder = tmp_path_factory.mktemp("tune")
    for name in ("docs", "blank"):
        (folder / name).mkdir()
    for subject in SUBJECTS:
        for matter in MATTERS:
            text = f"# {subject} {matter}\n\nAll that there is to know of the {matter} of the {subject}.\n"
            (folder / "docs" / f"{subject}-{matter}.md").write_text(text)
    (folder / "blank" / "note.txt").write_text("no heading is here, only a line of text that goes on for a while\n")
    with postgres.database() as url:
        variables = {
            "RAGSTONE_DATABASE_URL": url,
            "RAGSTONE_DATA_DIR": str(folder / "data"),
            "RAGSTONE_INDEX_URL": "exact",
            "COLUMNS": "80",
        }
        ragstone(variables, "index", str(folder / "docs"))
        ragstone(variables, "--collection", "blank", "index", str(folder / "blank"))
        yield variables


class Known(Forgetful):
    """Misses two of ten at ef 16, one at 24, none from 32 on."""

    def __init__(self) -> None:
        super().__init__(lambda ef, where: max(0, 2 - ((ef or 0) - 16) // 8))

    async def health(self) -> Health:
        return replace(await super().health(), engine="known")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(settings: Settings, url: str, *, embedded: bool) -> Index:
        return Known()

    monkeypatch.setattr("ragstone.app.make_index", make)


def ragstone(environment: dict[str, str], *arguments: str, exit_code: int = 0) -> Result:
    ran = CliRunner().invoke(app, arguments, catch_exceptions=False, env=environment)
    assert ran.exit_code == exit_code, ran.output
    return ran


def in_catalog(environment: dict[str, str], question: str = "") -> Generation:
    """The serving generation, after a question was recorded."""

    async def look() -> Generation:
        catalog = await Catalog.open(environment["RAGSTONE_DATABASE_URL"])
        try:
            collection = await catalog.collection("default", "default")
            assert isinstance(collection, Collection)
            if question:
                await catalog.record_question(collection, question)
            assert collection.serving is not None
            generation = await catalog.generation("default", collection.serving)
            assert generation is not None
            return generation
        finally:
            await catalog.aclose()

    return asyncio.run(look())


def printed(environment: dict[str, str], *arguments: str, exit_code: int = 0) -> Any:
    return json.loads(ragstone(environment, "tune", "--json", *arguments, exit_code=exit_code).stdout)


@pytest.mark.usefixtures("known")
def test_the_least_breadth_that_finds_enough_is_printed_and_stored(environment: dict[str, str]) -> None:
    ran = ragstone(environment, "tune", "--recall", "0.85", "--queries", "40")
    assert "40 queries (0 that were asked, the others headings), on known" in ran.stdout
    rows = [line.split() for line in ran.stdout.splitlines() if line.split()[:2] == ["no", "filter"]]
    assert [(row[2], row[3], row[-1]) for row in rows] == [
        ("16", "0.8000", rows[0][-1]),
        ("24", "0.9000", "chosen"),
        ("32", "1.0000", rows[2][-1]),
    ]
    assert max(len(line) for line in ran.stdout.splitlines()) <= 80
    assert "left out: a filter of 0.1 % lets only" in ran.stdout
    assert "ef 24 is the least that surely reaches a recall@10 of 0.85" in ran.stdout
    stored = in_catalog(environment).tuning["known"]
    assert {key: stored[key] for key in ("ef", "recall", "target", "k", "queries")} == {
        "ef": 24, "recall": 0.9, "target": 0.85, "k": 10, "queries": 40,
    }  # fmt: skip


@pytest.mark.usefixtures("known")
def test_a_dry_run_stores_nothing_and_what_goes_before_it_is_told(environment: dict[str, str]) -> None:
    before = in_catalog(environment).tuning
    found = printed(environment, "--recall", "0.95", "--dry-run")
    assert (found["engine"], found["stored"], found["tuning"]["ef"], found["tuning"]["recall"]) == (
        "known", False, 32, 1.0,
    )  # fmt: skip
    set_by_hand = {**environment, "RAGSTONE_INDEX_EF": "200"}
    told = ragstone(set_by_hand, "tune", "--recall", "0.95", "--dry-run").stdout
    assert "nothing is stored" in told
    assert "the settings say index.ef = 200" in told
    assert in_catalog(environment).tuning == before


@pytest.mark.usefixtures("known")
def test_an_index_that_is_building_is_only_looked_at(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def building(self: Known) -> Health:
        return replace(await Forgetful.health(self), engine="known", state="building", unbuilt=40)

    monkeypatch.setattr(Known, "health", building)
    with pytest.raises(IndexUnavailable, match="building its graphs"):
        ragstone(environment, "tune", "--recall", "0.7")
    assert "40 of 41 chunks are in no graph yet" in ragstone(environment, "tune", "--recall", "0.7", "--dry-run").stdout


@pytest.mark.usefixtures("known")
def test_when_none_finds_enough_nothing_is_stored_and_it_says_what_to_do(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = in_catalog(environment).tuning
    few = ragstone(environment, "tune", "--queries", "2", exit_code=1)
    assert "more --queries: the mean does reach it, but 2 leave that to chance" in few.stderr
    monkeypatch.setattr(Known, "__init__", lambda self: Forgetful.__init__(self, lambda ef, where: 1))
    bad = ragstone(environment, "tune", "--queries", "5", exit_code=1)
    assert "no ef surely reaches a recall@10 of 0.98 under every filter: nothing is stored" in bad.stderr
    assert "a lower --recall (0.900 was reached under every filter)" in bad.stderr
    assert printed(environment, "--queries", "5", exit_code=1)["tuning"]["ef"] is None
    assert in_catalog(environment).tuning == before


@pytest.mark.usefixtures("known")
def test_what_was_asked_is_searched_for_before_headings(environment: dict[str, str]) -> None:
    assert printed(environment, "--queries", "12", "--dry-run", "--recall", "0.5")["asked"] == 0
    in_catalog(environment, "Where are the keys of the garage?")
    found = printed(environment, "--queries", "12", "--dry-run", "--recall", "0.5")
    assert (found["asked"], found["tuning"]["queries"]) == (1, 12)


@pytest.mark.usefixtures("known")
def test_the_report_is_one_file(environment: dict[str, str], tmp_path: Path) -> None:
    html = tmp_path / "recall.html"
    arguments = ("tune", "--dry-run", "--queries", "20", "--recall", "0.7", "--html")
    ran = ragstone(environment, *arguments, str(html))
    assert f"the report is in {html}" in ran.stderr.replace("\n", "")
    assert "Recall and latency of known on default" in html.read_text()
    with pytest.raises(SettingsError, match="cannot write"):
        ragstone(environment, *arguments, str(tmp_path / "absent" / "recall.html"))


def test_the_exact_engine_has_no_use_for_it(environment: dict[str, str], tmp_path: Path) -> None:
    ran = ragstone(environment, "tune", "--html", str(tmp_path / "none.html"))
    assert "the engine exact computes every cosine" in ran.stdout
    assert "no report is written" in ran.stderr
    found = printed(environment)
    assert (found["engine"], found["tuning"], found["stored"]) == ("exact", None, False)


def test_the_edge_engine_scans_so_few(environment: dict[str, str]) -> None:
    edge = {**environment, "RAGSTONE_INDEX_URL": "edge", "RAGSTONE_INDEX_LINGER": "0"}
    ran = ragstone(edge, "tune", "--queries", "20")
    assert "even the least ef finds everything" in ran.stdout
    assert "edge" not in in_catalog(environment).tuning


@pytest.mark.usefixtures("known")
def test_without_anything_to_search_for_it_says_so(environment: dict[str, str]) -> None:
    with pytest.raises(NothingIndexed, match="there is nothing to search for"):
        ragstone(environment, "--collection", "blank", "tune")
