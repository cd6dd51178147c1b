"""How often the extractive generator quotes the right place, and how often it rightly refuses.

    python benchmarks/extractive.py DATA [--questions 100] [--words-only] [--json]

DATA holds chunking_evaluation (questions with reference spans in five corpora), scifact (claims with rationale
sentences) and pubmedqa (questions with one abstract each), or some of them. Every question is asked twice, of what
BM25 finds: with a passage that holds a reference among the passages, and with all such passages left out, which makes
near misses of the rest. Figures are shares of questions:

    first     the first quotation overlaps a reference (pubmedqa: is from the right abstract)
    any       one of the quotations does
    cited     the first quotation is from a passage that holds a reference
    refused   nothing was quoted, though a reference was there
    declined  nothing was quoted, and none was there

The first three are over the answered questions of those that have a reference. Needs `ragstone models pull`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any
from uuid import UUID

from ragstone.chunking.sentences import sentence_spans
from ragstone.embedding.local import LocalEmbedder
from ragstone.generation.extractive import ExtractiveGenerator
from ragstone.generation.words import word_reader
from ragstone.models import Passage
from ragstone.prompting.citations import CitationScanner, Cited
from ragstone.prompting.prompt import build
from ragstone.settings import GenerationSettings, PromptSettings

CHUNK = 800  # characters, about 200 tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A chunk or an abstract."""

    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`references` holds, by the place of a unit in its corpus, the spans in it that answer the question."""

    text: str
    references: dict[int, list[tuple[int, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    name: str
    units: list[Unit]
    questions: list[Question]


class Bm25:
    """k1 = 1.2, b = 0.75, each word of a unit counted once."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._read = word_reader()
        self._postings: dict[str, list[int]] = defaultdict(list)
        self._lengths: list[int] = []
        for place, unit in enumerate(units):
            words = self._read(f"{unit.title} {unit.text}")
            self._lengths.append(len(words))
            for word in words:
                self._postings[word].append(place)

    def top(self, question: str, limit: int, without: Collection[int] = ()) -> list[int]:
        scores: dict[int, float] = defaultdict(float)
        average, total = mean(self._lengths), len(self._lengths)
        for word in self._read(question):
            places = self._postings.get(word, [])
            rarity = math.log((total - len(places) + 0.5) / (len(places) + 0.5) + 1)
            for place in places:
                scores[place] += rarity * 2.2 / (1 + 1.2 * (0.25 + 0.75 * self._lengths[place] / average))
        return [place for place in sorted(scores, key=lambda p: -scores[p]) if place not in without][:limit]


def data_sets(data: Path) -> Iterator[DataSet]:
    if (folder := data / "chunking_evaluation").is_dir():
        yield from _chunking_evaluation(folder)
    if (folder := data / "scifact").is_dir():
        yield _scifact(folder)
    if (folder := data / "pubmedqa").is_dir():
        yield _pubmedqa(folder)


def _chunking_evaluation(folder: Path) -> Iterator[DataSet]:
    rows = _rows(folder / "questions.jsonl")
    for corpus in sorted((folder / "corpora").glob("*.md")):
        text = corpus.read_text(encoding="utf-8")
        chunks = list(_chunks(text))
        questions = []
        for row in rows:
            if row["corpus_id"] == corpus.stem:
                spans = [(r["start_index"], r["end_index"]) for r in row["references"]]
                questions.append(Question(text=row["question"], references=_within(chunks, spans)))
        yield DataSet(name=corpus.stem, units=[Unit(title="", text=text[a:b]) for a, b in chunks], questions=questions)


def _chunks(text: str) -> Iterator[tuple[int, int]]:
    """Whole sentences up to the size, longer ones cut."""
    start = end = 0
    for a, b in sentence_spans(text):
        if end and b - start > CHUNK:
            yield start, end
            start, end = a, b
        else:
            start, end = (start, b) if end else (a, b)
        while end - start > CHUNK:
            yield start, start + CHUNK
            start += CHUNK
    if end > start:
        yield start, end


def _within(chunks: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for place, (start, end) in enumerate(chunks):
        for a, b in spans:
            if a < end and start < b:
                found[place].append((max(a, start) - start, min(b, end) - start))
    return found


def _scifact(folder: Path) -> DataSet:
    corpus = _rows(folder / "corpus.jsonl")
    places = {row["_id"]: place for place, row in enumerate(corpus)}
    questions: dict[str, Question] = {}
    for row in _rows(folder / "claims_evidence.jsonl"):
        question = questions.setdefault(row["id"], Question(text=row["claim"], references=defaultdict(list)))
        for sentence in row["sentences"]:
            start = corpus[places[row["doc_id"]]]["text"].find(sentence)
            if start >= 0:
                question.references[places[row["doc_id"]]].append((start, start + len(sentence)))
    units = [Unit(title=row["title"], text=row["text"]) for row in corpus]
    return DataSet(name="scifact", units=units, questions=list(questions.values()))


def _pubmedqa(folder: Path) -> DataSet:
    corpus = _rows(folder / "corpus.jsonl")
    places = {row["_id"]: place for place, row in enumerate(corpus)}
    questions = [
        Question(text=row["text"], references={places[row["_id"]]: [(0, len(corpus[places[row["_id"]]]["text"]))]})
        for row in _rows(folder / "queries.jsonl")
    ]
    return DataSet(name="pubmedqa", units=[Unit(title="", text=row["text"]) for row in corpus], questions=questions)


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one question asked of one choice of passages."""

    answerable: bool
    answered: bool
    first: bool = False
    any: bool = False
    cited: bool = False


async def measure(generator: ExtractiveGenerator, data: DataSet, limit: int) -> list[Outcome]:
    bm25 = Bm25(data.units)
    questions = random.Random(0).sample(data.questions, min(limit, len(data.questions)))
    outcomes = []
    for question in questions:
        if question.references:
            found = bm25.top(question.text, 6)
            if not question.references.keys() & set(found):
                found[-1:] = [next(iter(question.references))]
            outcomes.append(await _ask(generator, data, question, found))
        outcomes.append(await _ask(generator, data, question, bm25.top(question.text, 6, question.references)))
    return outcomes


async def _ask(generator: ExtractiveGenerator, data: DataSet, question: Question, found: Sequence[int]) -> Outcome:
    passages = [_passage(number, data.units[place]) for number, place in enumerate(found, start=1)]
    settings = PromptSettings(budget=100_000)
    prompt = build(question.text, passages, generator.count, settings, generator.context_window).prompt
    scanner = CitationScanner(prompt.passages)
    events = [event async for piece in generator.stream(prompt, 10_000) for event in scanner.feed(piece)]
    quoted = [event.citation for event in [*events, *scanner.finish()] if isinstance(event, Cited)]
    hits = []
    for citation in quoted:
        assert citation.quote is not None, "the generator cites nothing but quotations"
        start = citation.passage.text.index(citation.quote)
        spans = question.references.get(found[citation.number - 1], [])
        hits.append(any(a < start + len(citation.quote) and start < b for a, b in spans))
    return Outcome(
        answerable=bool(question.references.keys() & set(found)),
        answered=bool(quoted),
        first=bool(hits) and hits[0],
        any=any(hits),
        cited=bool(quoted) and found[quoted[0].number - 1] in question.references,
    )


def _passage(number: int, unit: Unit) -> Passage:
    none = UUID(int=0)
    return Passage(
        number=number, document_id=none, version_id=none, chunk_ids=(none,), uri="", title=unit.title, path=(),
        pages=None, start=0, end=len(unit.text), text=unit.text, modified_at=None, cosine=None, bm25=None, score=1.0,
    )  # fmt: skip


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    answerable = [o for o in outcomes if o.answerable]
    answered = [o for o in answerable if o.answered]
    return {
        "first": mean(o.first for o in answered),
        "any": mean(o.any for o in answered),
        "cited": mean(o.cited for o in answered),
        "refused": mean(not o.answered for o in answerable),
        "declined": mean(not o.answered for o in outcomes if not o.answerable),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=100, help="of each set, at most")
    parser.add_argument("--words-only", action="store_true", help="without embeddings")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    embedder = None if chosen.words_only else LocalEmbedder.open("all-MiniLM-L6-v2")
    generator = ExtractiveGenerator(GenerationSettings(), embedder)
    table = {d.name: figures(await measure(generator, d, chosen.questions)) for d in data_sets(chosen.data)}
    table["mean"] = {name: mean(row[name] for row in table.values()) for name in next(iter(table.values()))}
    if chosen.json:
        print(json.dumps(table, indent=2))
    else:
        print(f"{'':20}" + "".join(f"{name:>10}" for name in table["mean"]))
        for name, row in table.items():
            print(f"{name:20}" + "".join(f"{value:10.2f}" for value in row.values()))
    if embedder is not None:
        await embedder.aclose()


if __name__ == "__main__":
    asyncio.run(main())
