"""Two generations asked the same questions: how much of what they find is the same, and how good it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Literal

from ragstone.errors import SettingsError
from ragstone.evaluation.metrics import ndcg
from ragstone.models import Scope
from ragstone.retrieval.pipeline import Retriever
from ragstone.settings import ReindexSettings, RetrievalSettings

Origin = Literal["given", "asked", "headings"]
"""Questions of a file, from the record of what was asked, or the headings of documents, each to find its document."""

_HINT = 'write lines like {"question": "…", "relevant": ["file:///…"]}'

CHUNKS = 5  # searched for each document wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`relevant` holds grades by URI; empty where nobody judged."""

    text: str
    relevant: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Means over the questions. `overlap`: the share of the first k documents that both find (overlap@k)."""

    origin: Origin
    questions: int
    judged: int  # questions with known relevance
    k: int
    overlap: float
    ndcg_before: float | None  # nDCG@k over the judged questions
    ndcg_after: float | None

    def objections(self, bar: ReindexSettings) -> list[str]:
        """Why the new generation should not serve; empty when it may."""
        found = []
        if self.questions and self.overlap < bar.min_overlap:
            found.append(f"overlap@{self.k} is {self.overlap:.3f}, at least {bar.min_overlap} is wanted")
        if self.ndcg_before is not None and self.ndcg_after is not None:
            loss = self.ndcg_before - self.ndcg_after
            if loss > bar.max_loss:
                found.append(
                    f"nDCG@{self.k} falls from {self.ndcg_before:.3f} to {self.ndcg_after:.3f}, "
                    f"at most {bar.max_loss} may be lost"
                )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One generation, as questions are put to it."""

    retriever: Retriever
    scope: Scope

    async def documents(self, question: str, settings: RetrievalSettings, k: int) -> list[str]:
        """The URIs of the first k documents, best first, whatever their cosine: its scale is each model's own."""
        wide = settings.model_copy(update={"candidates": max(settings.candidates, CHUNKS * k), "min_cosine": -1.0})
        found = await self.retriever.retrieve(question, self.scope, wide)
        ids = [fused.hit.chunk_id for fused in found.ranked]
        chunks = await self.retriever.reader.chunks(self.scope.generation, self.scope.tenant, ids)
        return list(dict.fromkeys(chunks[key].uri for key in ids if key in chunks))[:k]


async def compare(
    before: Side, after: Side, questions: Sequence[Question], origin: Origin, settings: RetrievalSettings, k: int
) -> Comparison:
    """Put the questions to both. Raises IndexFailure, CatalogError or ProviderError."""
    overlaps, old, new = [], [], []
    for question in questions:
        first = await before.documents(question.text, settings, k)
        second = await after.documents(question.text, settings, k)
        longest = max(len(first), len(second))
        overlaps.append(len({*first} & {*second}) / longest if longest else 1.0)
        if question.relevant:
            old.append(ndcg(first, question.relevant, k))
            new.append(ndcg(second, question.relevant, k))
    return Comparison(
        origin=origin,
        questions=len(questions),
        judged=len(old),
        k=k,
        overlap=fmean(overlaps) if overlaps else 1.0,
        ndcg_before=fmean(old) if old else None,
        ndcg_after=fmean(new) if new else None,
    )


def read_questions(file: Path) -> list[Question]:
    """Questions of a JSON-lines file: `{"question": "…", "relevant": ["uri", …]}`, `relevant` may be missing.

    Raises SettingsError, naming the line.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"cannot read questions from {file}: {what}", hint=_HINT) from None
    questions = [_question(line, f"{file}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]
    if not questions:
        raise SettingsError(f"there is no question in {file}", hint=_HINT)
    return questions


def _question(line: str, place: str) -> Question:
    try:
        entry = json.loads(line)
        text, relevant = entry["question"], entry.get("relevant", [])
        if not isinstance(text, str) or not text.strip():
            raise ValueError("its question is no text")
        if not isinstance(relevant, list) or not all(isinstance(uri, str) for uri in relevant):
            raise ValueError("relevant is no list of URIs")
    except KeyError:
        raise SettingsError(f"{place} has no question", hint=_HINT) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError(f"{place} is no question: {error}", hint=_HINT) from None
    return Question(text=text, relevant=dict.fromkeys(relevant, 1))
