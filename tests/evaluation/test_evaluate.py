"""`ragstone eval` from the files to the figures, on a small data set whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ragstone.app import open_ragstone
from ragstone.cli.main import app
from ragstone.evaluation.datasets import Corpus, read
from ragstone.evaluation.retrieval import DEPTH, Evaluator
from ragstone.settings import IndexSettings, RetrievalSettings, Settings

FACTS = {
    "bees": ("Bees", "A bee returns to the hive and dances to tell the others where nectar is."),
    "iron": ("Iron", "Iron rusts when oxygen and water reach its surface; paint keeps both away."),
    "tea": ("", "Green tea is steamed or pan-fired soon after picking, so that the leaf does not oxidise."),
    "bread": ("Sourdough", "Wild yeast and lactic acid bacteria in the starter make the dough rise and taste sour."),
    "moon": ("Tides", "The pull of the moon raises the sea twice a day. " * 40),  # several chunks
}
QUESTIONS = {"q1": ("How do bees tell where food is?", "bees"), "q2": ("Why does the sea rise twice a day?", "moon")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "facts"
    folder.mkdir()
    corpus = [{"_id": key, "title": title, "text": text} for key, (title, text) in FACTS.items()]
    queries = [{"_id": key, "text": text} for key, (text, _) in QUESTIONS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.test.tsv").write_text("".join(f"{key}\t{answer}\t1\n" for key, (_, answer) in QUESTIONS.items()))
    return folder


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def environment(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_DATA_DIR", str(data_dir))
    monkeypatch.setenv("RAGSTONE_INDEX_URL", "exact")


@pytest.mark.usefixtures("environment")
def test_the_figures_of_a_known_set(folder: Path) -> None:
    ran = CliRunner().invoke(app, ["eval", str(folder), "--json"], catch_exceptions=False)
    assert ran.exit_code == 0
    found = json.loads(ran.stdout)
    assert (found["questions"], found["documents"], found["absent"]) == (2, 5, 0)
    assert found["chunks"] > 5
    assert found["indexing"]["published"] == 5
    assert found["runs"]["hybrid"] == {"ndcg@10": 1.0, "recall@100": 1.0, "mrr@10": 1.0}
    assert found["runs"]["dense"]["ndcg@10"] == 1.0
    assert found["runs"]["bm25"]["recall@100"] == 1.0
    assert list(found["latency_ms"])[:2] == ["embed", "search"]
    assert all(0 < taken["p50"] <= taken["p99"] for taken in found["latency_ms"].values())
    assert found["latency_ms"]["total"]["p50"] > found["latency_ms"]["search"]["p50"]


@pytest.mark.usefixtures("environment")
def test_a_second_run_indexes_nothing_and_a_table_is_shown(folder: Path) -> None:
    ran = CliRunner().invoke(app, ["eval", str(folder), "--json", "--limit", "1"], catch_exceptions=False)
    found = json.loads(ran.stdout)
    assert (found["questions"], found["indexing"]["unchanged"], found["indexing"]["embedded"]) == (1, 5, 0)
    shown = CliRunner().invoke(app, ["eval", str(folder)], catch_exceptions=False).stdout
    assert "hybrid" in shown
    assert "ndcg@10" in shown
    assert "total" in shown


@pytest.mark.usefixtures("environment")
async def test_each_run_ranks_as_a_search_of_that_mode_does(folder: Path, data_dir: Path) -> None:
    dataset = read(folder)
    corpus = Corpus(dataset)
    settings = Settings(data_dir=data_dir, collection="modes", index=IndexSettings(url="exact"))
    async with open_ragstone(settings) as ragstone:
        await ragstone.upkeep.sync(corpus, lambda report: None)
        await ragstone.caught_up(30)
        scope, retriever = await ragstone.scope(), await ragstone.retriever()
        evaluator = Evaluator(dataset=dataset, retriever=retriever, scope=scope, settings=settings.retrieval)
        rankings = await evaluator.rankings(lambda: None)
        for mode in rankings:
            retrieval = RetrievalSettings(mode=mode, candidates=DEPTH)
            for key, question in dataset.questions.items():
                found = await retriever.retrieve(question, scope, retrieval)
                chunks = await ragstone.catalog.chunks(
                    scope.generation, scope.tenant, [fused.hit.chunk_id for fused in found.ranked]
                )
                documents = [corpus.key(chunks[fused.hit.chunk_id].uri) for fused in found.ranked]
                assert list(rankings[mode][key]) == list(dict.fromkeys(documents))
