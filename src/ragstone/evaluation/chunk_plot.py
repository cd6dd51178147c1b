"""The chunk lab's plot, as an SVG that takes its colours from the page around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from ragstone.evaluation.chunk_lab import Result

WIDTH, HEIGHT = 900, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 20, 60
SMALLEST, LARGEST = 4.5, 9.0  # half the width of a mark, by the size of its chunks

SHAPES = ("circle", "square", "triangle", "diamond", "cross")
"""One for each strategy, beside its colour: colour alone does not reach everyone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Round steps around some values, and where a value lies on the page."""

    ticks: Sequence[float]
    start: float  # where the first tick lies
    end: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> Axis:
        low, high = min(values), max(values)
        step = _round_step((high - low) / 5 or abs(high) / 5 or 1.0)
        first, last = math.floor(low / step), math.ceil(high / step)
        return cls(ticks=[n * step for n in range(first, max(last, first + 1) + 1)], start=start, end=end)

    def place(self, value: float) -> float:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return round(self.start + share * (self.end - self.start), 1)


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
        points = " ".join(f"{x},{y}" for x, y in places)
        lines.append(f'<polyline class="line s{number}" points="{points}"/>')
        for result, (x, y) in zip(group, places, strict=True):
            half = SMALLEST + (LARGEST - SMALLEST) * result.max_tokens / largest
            marks.append(_mark(number, x, y, half, filled=overlap > 0, title=_title(result)))
    name = f"Recall against tokens retrieved, for {len(results)} ways to cut. The table below has the figures."
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">',
            *_grid(across, upwards, top_k),
            *lines,
            *marks,
            "</svg>",
        ]
    )


def sample(number: int, *, filled: bool) -> str:
    """A mark of that strategy for a legend."""
    return f'<svg class="key" viewBox="0 0 20 20" aria-hidden="true">{_mark(number, 10, 10, 7, filled=filled)}</svg>'


def _series(result: Result) -> tuple[str, float, int]:
    return result.strategy, result.overlap, result.max_tokens


def _title(result: Result) -> str:
    return (
        f"{result.strategy}, {result.max_tokens} tokens, overlap {result.overlap:g}: "
        f"recall {result.figures['recall'].mean:.3f}, precision {result.figures['precision'].mean:.3f}, "
        f"{result.shown_tokens:.0f} tokens retrieved"
    )


def _mark(number: int, x: float, y: float, half: float, *, filled: bool, title: str = "") -> str:
    shape = _SHAPE[SHAPES[number % len(SHAPES)]](x, y, half)
    told = f"<title>{escape(title)}</title>" if title else ""
    return f'<g class="mark s{number} {"filled" if filled else "hollow"}">{told}{shape}</g>'


def _polygon(corners: Sequence[tuple[float, float]]) -> Callable[[float, float, float], str]:
    def draw(x: float, y: float, half: float) -> str:
        points = " ".join(f"{x + half * dx:.1f},{y + half * dy:.1f}" for dx, dy in corners)
        return f'<polygon points="{points}"/>'

    return draw


def _circle(x: float, y: float, half: float) -> str:
    return f'<circle cx="{x}" cy="{y}" r="{half:.1f}"/>'


_THIRD = 1 / 3
_SHAPE: dict[str, Callable[[float, float, float], str]] = {
    "circle": _circle,
    "square": _polygon([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
    "triangle": _polygon([(0, -1.15), (1.1, 0.85), (-1.1, 0.85)]),
    "diamond": _polygon([(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)]),
    "cross": _polygon(
        [
            *[(-_THIRD, -1.1), (_THIRD, -1.1), (_THIRD, -_THIRD), (1.1, -_THIRD), (1.1, _THIRD), (_THIRD, _THIRD)],
            *[(_THIRD, 1.1), (-_THIRD, 1.1), (-_THIRD, _THIRD), (-1.1, _THIRD), (-1.1, -_THIRD), (-_THIRD, -_THIRD)],
        ]
    ),
}


def _grid(across: Axis, upwards: Axis, top_k: int) -> list[str]:
    bottom, right, middle = HEIGHT - BOTTOM, WIDTH - RIGHT, (HEIGHT - BOTTOM + TOP) / 2
    parts = []
    for tick in across.ticks:
        x = across.place(tick)
        parts.append(f'<line class="grid" x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 20}" text-anchor="middle">{tick:g}</text>')
    for tick in upwards.ticks:
        y = upwards.place(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:.3g}</text>')
    below = f"tokens retrieved for a question, in the {top_k} best chunks (mean)"
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{below}</text>')
    parts.append(f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">recall (mean)</text>')
    return parts


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least as large."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
