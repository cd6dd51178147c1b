"""Answers without a model: the statements of the sources that fit the question best, quoted and cited."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace

from ragstone.chunking.statements import Statement, statements
from ragstone.embedding.base import Embedder
from ragstone.generation.words import word_reader
from ragstone.models import Prompt
from ragstone.settings import GenerationSettings

OPENING = "Quoted from the sources:"

# Chosen with benchmarks/extractive.py over seven sets of questions together. The weights may change by half without
# moving a figure by more than .02; what matters is where to refuse, and there one in twenty wrongly was aimed at.
_AROUND = 0.3  # what a question's word weighs when the passage has it, and not only the statement
_BEFORE = 0.2  # … when the sentence before has it: "It is sixteen weeks."
_RANK = 0.2  # for standing in the passage that retrieval put first; half of it for the second, and so on
_SHORTLIST = 8  # statements compared by embedding, a few milliseconds each: the best by words
_ENOUGH = 0.8  # support from which something is quoted
_ENOUGH_BY_WORDS = 0.3  # … when there are no embeddings to add to it
_NEAR_BEST = 0.6  # share of the best support that a second and third quotation need


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A statement, and how far it and what is around it speak of what was asked. Higher is better."""

    statement: Statement
    support: float

    @property
    def rank(self) -> float:
        return self.support + _RANK / self.statement.passage.number


class ExtractiveGenerator:
    """Quotes up to `settings.sentences` statements, or nothing when none has enough to do with the question.

    The support of a statement is the share of the question's words that it has, each weighted by its rarity among all
    statements, with something added for the words around it and, given an embedder, for the cosine of statement and
    question. That it is about what was asked does not mean that it answers it: the answer is shown as quotations.
    """

    def __init__(self, settings: GenerationSettings, embedder: Embedder | None = None) -> None:
        self._sentences = settings.sentences
        self._embedder = embedder

    @property
    def name(self) -> str:
        return "extractive"

    @property
    def context_window(self) -> int:
        return 1_000_000  # it reads whatever it is given

    def count(self, text: str) -> int:
        """There is no tokenizer; four characters count as a token."""
        return math.ceil(len(text) / 4)

    async def stream(self, prompt: Prompt, max_tokens: int) -> AsyncGenerator[str, None]:
        """A line that says what follows, then a line for each quotation. The first is given whatever its length."""
        written = OPENING
        for position, statement in enumerate(await self._best(prompt)):
            line = f"\n- “{statement.text}” [{statement.passage.number}]"
            written += line
            if position == 0:
                yield OPENING
            elif self.count(written) > max_tokens:
                return
            yield line

    async def aclose(self) -> None:
        """Nothing of its own to close."""

    async def _best(self, prompt: Prompt) -> list[Statement]:
        candidates = _by_words(prompt.question, [s for passage in prompt.passages for s in statements(passage)])
        if self._embedder is not None:
            candidates = await _with_cosines(prompt.question, candidates[:_SHORTLIST], self._embedder)
        enough = _ENOUGH_BY_WORDS if self._embedder is None else _ENOUGH
        if not candidates or candidates[0].support < enough:
            return []
        least = _NEAR_BEST * candidates[0].rank
        return [c.statement for c in candidates[: self._sentences] if c.rank >= least]


def _by_words(question: str, found: Sequence[Statement]) -> list[_Candidate]:
    """The statements that say more than the question does, equal ones once, best first."""
    read = word_reader()
    asked, own = read(question), [read(statement.text) for statement in found]
    if not asked:
        return []
    weights = {word: _rarity(sum(word in words for words in own), len(own)) for word in asked}
    around = {s.passage.number: read(" ".join((s.passage.title, *s.passage.path, s.passage.text))) for s in found}
    candidates: dict[str, _Candidate] = {}
    for statement, words in zip(found, own, strict=True):
        if words <= asked or statement.text.endswith("?"):
            continue
        near, before = around[statement.passage.number] | words, read(statement.before) - words
        support = _share(words, weights) + _AROUND * _share(near, weights) + _BEFORE * _share(before, weights)
        candidates.setdefault(" ".join(statement.text.split()), _Candidate(statement=statement, support=support))
    return sorted(candidates.values(), key=lambda candidate: -candidate.rank)


def _rarity(containing: int, total: int) -> float:
    """The inverse document frequency of BM25 (Robertson and Zaragoza, 2009), over statements."""
    return math.log((total - containing + 0.5) / (containing + 0.5) + 1)


def _share(words: frozenset[str], weights: Mapping[str, float]) -> float:
    return sum(weight for word, weight in weights.items() if word in words) / sum(weights.values())


async def _with_cosines(question: str, candidates: Sequence[_Candidate], embedder: Embedder) -> list[_Candidate]:
    """The candidates, each with its cosine to the question added to its support, best first."""
    texts = [_cut(text, embedder) for text in (question, *(c.statement.text for c in candidates))]
    asked, *own = await embedder.embed(texts, "query")
    added = [replace(c, support=c.support + float(asked @ v)) for c, v in zip(candidates, own, strict=True)]
    return sorted(added, key=lambda candidate: -candidate.rank)


def _cut(text: str, embedder: Embedder) -> str:
    """What the embedder can take: hardly a sentence is longer, and its beginning will do to compare it."""
    return text if embedder.count(text) <= embedder.max_tokens else text[: embedder.max_tokens]
