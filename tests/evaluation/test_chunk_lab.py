"""`ragstone chunk-lab` on a small set, its figures computed once more from its parts, and its report."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from evaluation.marked import write
from ragstone.chunking.fixed import Fixed
from ragstone.cli.main import app
from ragstone.embedding.base import Embedder
from ragstone.errors import SettingsError
from ragstone.evaluation.chunk_lab import STRATEGIES, Lab, Plan, Result
from ragstone.evaluation.chunk_metrics import scores
from ragstone.evaluation.chunk_questions import Corpus, read
from ragstone.evaluation.chunk_vectors import VectorCache
from ragstone.parts import make_embedder
from ragstone.settings import ChunkingSettings, EmbeddingSettings, RetrievalSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sets") / "marked")


@pytest.fixture(scope="module")
def corpora(folder: Path) -> list[Corpus]:
    return read(folder)


@pytest.fixture
async def embedder() -> AsyncIterator[Embedder]:
    async with aclosing(make_embedder(EmbeddingSettings(), None)) as opened:
        yield opened


async def results(embedder: Embedder, cache: Path, corpora: list[Corpus], plan: Plan) -> list[Result]:
    with VectorCache.open(embedder, cache, lambda done, total: None) as vectors:
        lab = Lab(corpora=corpora, vectors=vectors, chunking=ChunkingSettings(), plan=plan)
        return await lab.run(lambda step, done, total: None)


async def test_figures_are_those_of_the_chunks_nearest_to_each_question(
    embedder: Embedder, tmp_path: Path, corpora: list[Corpus]
) -> None:
    plan = Plan(strategies=("fixed",), sizes=(30,), overlaps=(0.2,), top_k=2)
    [result] = await results(embedder, tmp_path, corpora, plan)
    found, shown = [], []
    for corpus in corpora:
        chunks = Fixed(embedder.count, 30, 0.2, prefix=True).chunk(corpus.document)
        vectors = await embedder.embed([chunk.embedded for chunk in chunks], "backfill")
        for question in corpus.questions:
            [asked] = await embedder.embed([question.text], "query")
            best = sorted(range(len(chunks)), key=lambda place: -float(vectors[place] @ asked))[:2]
            found.append(scores([(chunks[p].start, chunks[p].end) for p in best], question.references))
            shown.append(sum(chunks[p].tokens for p in best))
    assert result.shown_tokens == pytest.approx(np.mean(shown))
    for measure in ("recall", "precision", "iou"):
        values = [getattr(one, measure) for one in found]
        assert result.figures[measure].mean == pytest.approx(np.mean(values))
        assert result.figures[measure].std == pytest.approx(np.std(values))
    assert 0 < result.figures["precision"].mean < result.figures["recall"].mean
    assert result.corpora["tides"]["recall"] == pytest.approx(found[-1].recall)


async def test_what_is_embedded_once_is_not_embedded_again(
    embedder: Embedder, tmp_path: Path, corpora: list[Corpus]
) -> None:
    plan = Plan(strategies=("fixed", "semantic"), sizes=(30, 40))
    first = await results(embedder, tmp_path, corpora, plan)
    totals: list[int] = []
    with VectorCache.open(embedder, tmp_path, lambda done, total: totals.append(total)) as vectors:
        lab = Lab(corpora=corpora, vectors=vectors, chunking=ChunkingSettings(), plan=plan)
        assert await lab.run(lambda step, done, total: None) == first
        assert set(totals) == {0}
        texts = ["A text.", "Another.", "A text."]
        assert np.array_equal(await vectors.embed(texts, "live"), await embedder.embed(texts, "live"))
        assert max(totals) == 2
        totals.clear()
        await vectors.embed(["A text."], "query")
        assert max(totals) == 1  # a model may embed a question in another way than a document


async def test_recall_in_a_budget_grows_to_all_of_the_marked_text(
    embedder: Embedder, tmp_path: Path, corpora: list[Corpus]
) -> None:
    """One token shows a part of the first word, ten thousand the whole corpus."""
    measured = []
    for budget in (1, 20, 10_000):
        plan = Plan(strategies=("sentence",), sizes=(40,), budget=budget)
        [result] = await results(embedder, tmp_path, corpora, plan)
        measured.append(result.figures["recall_at_budget"].mean)
    assert measured[0] < 0.1 < measured[1] < 0.9
    assert measured[2] == 1.0


async def test_hybrid_search_goes_by_words_too(embedder: Embedder, tmp_path: Path, corpora: list[Corpus]) -> None:
    """A part's number says nothing to the model, and the rest of its question leads elsewhere."""
    part = [Corpus(name="bees", document=corpora[0].document, questions=corpora[0].questions[2:])]
    plan = partial(Plan, strategies=("recursive",), sizes=(30,), top_k=1)
    [by_words] = await results(embedder, tmp_path, part, plan(hybrid=RetrievalSettings(dense_weight=0)))
    [by_cosine] = await results(embedder, tmp_path, part, plan())
    assert (by_words.figures["recall"].mean, by_cosine.figures["recall"].mean) == (1.0, 0.0)
    dense = plan(hybrid=RetrievalSettings(dense_weight=1))
    assert await results(embedder, tmp_path, corpora, dense) == await results(embedder, tmp_path, corpora, plan())


def test_sizes_that_the_model_does_not_take_are_left_out() -> None:
    base = ChunkingSettings()
    assert [way.max_tokens for way in Plan(strategies=("fixed",)).ways(base, 254)] == [128, 200, 254]
    assert [way.max_tokens for way in Plan(strategies=("fixed",)).ways(base, 510)] == [128, 200, 256, 400]
    assert Plan().too_large(254) == [256, 400]
    chosen = Plan(strategies=("fixed",), sizes=(100, 300))
    assert ([way.max_tokens for way in chosen.ways(base, 254)], chosen.too_large(254)) == ([100], [300])
    with pytest.raises(SettingsError, match="no size is within the model's limit of 254 tokens"):
        Plan(sizes=(300,)).ways(base, 254)
    with pytest.raises(SettingsError, match=r"chunking\.overlap cannot be 0\.7"):
        Plan(overlaps=(0.7,)).ways(base, 254)


def command(*arguments: str) -> Any:
    ran = CliRunner().invoke(app, ["chunk-lab", *arguments], catch_exceptions=False, env={"COLUMNS": "150"})
    assert ran.exit_code == 0, ran.output
    return ran


def test_the_command_measures_every_strategy_and_writes_a_report(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    found = json.loads(command(str(folder), "--sizes", "24,40,999", "--html", str(report), "--json").stdout)
    ways = [(result["strategy"], result["max_tokens"], result["overlap"]) for result in found["results"]]
    assert ways == [(s, size, overlap) for s in STRATEGIES for size in (24, 40) for overlap in (0, 0.15)]
    assert found["questions"] == {"bees": 3, "tides": 1}
    assert found["left_out"] == [999]
    text = report.read_text()
    svg = ET.fromstring(re.search(r"<svg viewBox.*?</svg>", text, re.S)[0])  # type: ignore[index]
    titles = [title.text or "" for title in svg.iter("title")]
    assert sorted(title.split(":")[0] for title in titles) == sorted(
        f"{strategy}, {size} tokens, overlap {overlap:g}" for strategy, size, overlap in ways
    )
    best = max(found["results"], key=lambda result: result["figures"]["iou"]["mean"])["figures"]["iou"]
    assert f"<td class=best>{best['mean']:.3f} <small>± {best['std']:.3f}</small>" in text
    assert not re.search(r'(src|href)="(?!https://github\.com/)', text)


def test_the_command_prints_a_table(folder: Path) -> None:
    ran = command(str(folder), "--strategies", "fixed", "--sizes", "24", "--overlap", "0", "--corpora", "tides")
    assert "marked: 1 questions on tides; dense, all-MiniLM-L6-v2" in ran.stdout
    row = next(line for line in ran.stdout.splitlines() if line.split()[:1] == ["fixed"])
    assert row.split()[:3] == ["fixed", "24", "0"]
    assert row.count("±") == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategies", "random"], "chunking.strategy cannot be 'random'"),
        (["--corpora", "bears"], "no question about bears"),
        (["--sizes", "5"], "chunking.max_tokens cannot be 5"),
    ],
)
def test_a_mistake_is_named(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        command(str(folder), *arguments)


def test_sizes_are_numbers(folder: Path) -> None:
    ran = CliRunner().invoke(app, ["chunk-lab", str(folder), "--sizes", "small"])
    assert ran.exit_code == 2
    assert "small" in ran.output
