"""The chunk lab's plot, as an SVG that takes its colours from the page around it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ragstone.evaluation.chunk_lab import Result
from ragstone.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, grid, line, mark, svg

SMALLEST, LARGEST = 4.5, 9.0  # half the width of a mark, by the size of its chunks


def plot(results: Sequence[Result], strategies: Sequence[str], top_k: int) -> str:
    """Recall against the tokens it cost: a mark for each result, a line through the sizes of one strategy."""
    across = Axis.around([result.shown_tokens for result in results], LEFT, WIDTH - RIGHT)
    upwards = Axis.around([result.figures["recall"].mean for result in results], HEIGHT - BOTTOM, TOP)
    largest = max(result.max_tokens for result in results)
    lines, marks = [], []
    for (strategy, overlap), some in groupby(sorted(results, key=_series), key=lambda r: (r.strategy, r.overlap)):
        group = list(some)
        number = strategies.index(strategy)
        places = [(across.place(r.shown_tokens), upwards.place(r.figures["recall"].mean)) for r in group]
        lines.append(line(number, places))
        for result, (x, y) in zip(group, places, strict=True):
            half = SMALLEST + (LARGEST - SMALLEST) * result.max_tokens / largest
            marks.append(mark(number, x, y, half, filled=overlap > 0, title=_title(result)))
    below = f"tokens retrieved for a question, in the {top_k} best chunks (mean)"
    name = f"Recall against tokens retrieved, for {len(results)} ways to cut. The table below has the figures."
    return svg([*grid(across, upwards, below, "recall (mean)"), *lines, *marks], name)


def _series(result: Result) -> tuple[str, float, int]:
    return result.strategy, result.overlap, result.max_tokens


def _title(result: Result) -> str:
    return (
        f"{result.strategy}, {result.max_tokens} tokens, overlap {result.overlap:g}: "
        f"recall {result.figures['recall'].mean:.3f}, precision {result.figures['precision'].mean:.3f}, "
        f"{result.shown_tokens:.0f} tokens retrieved"
    )
