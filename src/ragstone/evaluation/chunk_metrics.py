"""How much of the marked text some chunks hold, and how little else: the measures of Chroma's chunking evaluation.

Defined by Smith and Troynikov, "Evaluating Chunking Strategies for Retrieval" (Chroma, 2024), and computed here to the
same values as by their code (github.com/brandonstarxel/chunking_evaluation, base_evaluation.py). They are named after
tokens, but count characters, there as here.

A range is `(start, end)`, the end not included. References are the marked ranges that answer a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Range: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of the chunks retrieved for one question; each between 0 and 1."""

    recall: float
    precision: float
    iou: float


def scores(retrieved: Sequence[Range], references: Sequence[Range]) -> Scores:
    """Recall, precision and intersection over union of what was retrieved.

    What is held and marked counts once, however many chunks repeat it. What it is divided by does not:

    - recall by the length of all references;
    - precision by that of all chunks, so that text in two of them counts twice;
    - IoU by that of all chunks, repeats included, and of those parts of the references that no chunk holds.
    """
    held = _length(_union(_intersections(retrieved, references)))
    marked, shown = _length(references), _length(retrieved)
    missed = marked - sum(_length(_union(_intersections(retrieved, [reference]))) for reference in references)
    return Scores(
        recall=_ratio(held, marked),
        precision=_ratio(held, shown),
        iou=_ratio(held, shown + missed),
    )


def precision_omega(chunks: Sequence[Range], references: Sequence[Range]) -> float:
    """The precision of a retrieval that finds every chunk with marked text: the best this way of cutting allows.

    `chunks` are all of the corpus. Here repeated text counts once, text of the references that no chunk holds counts as
    shown, and a chunk that ends where a reference begins, or the other way round, counts as one with marked text.
    """
    touching = [chunk for chunk in chunks if any(_meet(chunk, reference) for reference in references)]
    held = _length(_union(_intersections(touching, references)))
    return _ratio(held, _length(_union([*touching, *references])))


def _meet(one: Range, other: Range) -> bool:
    return max(one[0], other[0]) <= min(one[1], other[1])


def _intersections(some: Iterable[Range], others: Sequence[Range]) -> Iterable[Range]:
    return ((max(one[0], other[0]), min(one[1], other[1])) for one in some for other in others if _meet(one, other))


def _union(ranges: Iterable[Range]) -> list[Range]:
    """The same characters in disjoint ranges."""
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _length(ranges: Iterable[Range]) -> int:
    return sum(end - start for start, end in ranges)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
