"""Plots as SVG inside one HTML file that needs nothing else: axes, marks, and a style for light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 900, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 20, 60

SHAPES = ("circle", "square", "triangle", "diamond", "cross")
"""One for each series, beside its colour: colour alone does not reach everyone."""

# Colours of Okabe and Ito, made darker on light ground and lighter on dark until each stands out 3:1 at least.
STYLE = """\
:root { --ground: #fff; --text: #1b1b1b; --faint: #595959; --rule: #dcdcdc;
  --c0: #0072b2; --c1: #b34700; --c2: #00795a; --c3: #a3498a; --c4: #8a6d00; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181b; --text: #ececec; --faint: #ababab; --rule: #3a3d42;
    --c0: #56b4e9; --c1: #ff9a4d; --c2: #2fc79a; --c3: #e39bc8; --c4: #e8c341; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 62rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; }
p, .legend { color: var(--faint); max-width: 48rem; }
svg { width: 100%; height: auto; }
svg text { fill: var(--faint); font-size: 14px; }
.grid { stroke: var(--rule); }
.line { fill: none; stroke: var(--ink); stroke-width: 1; stroke-opacity: .45; }
.mark { stroke: var(--ink); stroke-width: 2; }
.mark:hover { stroke: var(--text); }
.filled { fill: var(--ink); }
.hollow { fill: var(--ground); }
.s0 { --ink: var(--c0); } .s1 { --ink: var(--c1); } .s2 { --ink: var(--c2); } .s3 { --ink: var(--c3); }
.s4 { --ink: var(--c4); }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; padding: 0; list-style: none; }
.legend li { display: flex; align-items: center; gap: .4rem; }
svg.key { width: 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 1.5rem 0 .5rem; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td small { color: var(--faint); }
td.best { font-weight: 700; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Round steps around some values, and where a value lies on the page."""

    ticks: Sequence[float]
    start: float  # where the first tick lies
    end: float
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> Axis:
        low, high = min(values), max(values)
        step = _round_step((high - low) / 5 or abs(high) / 5 or 1.0)
        first, last = math.floor(low / step), math.ceil(high / step)
        return cls(ticks=[n * step for n in range(first, max(last, first + 1) + 1)], start=start, end=end)

    @classmethod
    def logarithmic_around(cls, values: Sequence[float], start: float, end: float) -> Axis:
        """Steps of 1, 2 and 5 times powers of ten around positive values."""
        low, high = min(values), max(values)
        powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 2)
        steps = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        first = max(n for n, step in enumerate(steps) if step <= low)
        last = min(n for n, step in enumerate(steps) if step >= high and n > first)
        return cls(ticks=steps[first : last + 1], start=start, end=end, logarithmic=True)

    def place(self, value: float) -> float:
        first, last = self.ticks[0], self.ticks[-1]
        if self.logarithmic:
            first, last, value = math.log10(first), math.log10(last), math.log10(value)
        return round(self.start + (value - first) / (last - first) * (self.end - self.start), 1)


def svg(parts: Sequence[str], name: str) -> str:
    """`name` is what those hear who do not see it."""
    return "\n".join([f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">', *parts, "</svg>"])


def grid(across: Axis, upwards: Axis, below: str, beside: str) -> list[str]:
    """The lines and figures of both axes, and what each is of."""
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
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(below)}</text>')
    parts.append(f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">{escape(beside)}</text>')
    return parts


def line(number: int, places: Sequence[tuple[float, float]]) -> str:
    """Joins the marks of a series."""
    points = " ".join(f"{x},{y}" for x, y in places)
    return f'<polyline class="line s{number}" points="{points}"/>'


def mark(number: int, x: float, y: float, half: float, *, filled: bool, title: str = "") -> str:
    """A mark of a series, `half` as wide to each side; `title` is shown when it is pointed at."""
    shape = _SHAPE[SHAPES[number % len(SHAPES)]](x, y, half)
    told = f"<title>{escape(title)}</title>" if title else ""
    return f'<g class="mark s{number} {"filled" if filled else "hollow"}">{told}{shape}</g>'


def key(number: int, *, filled: bool) -> str:
    """A mark of a series for a legend."""
    return f'<svg class="key" viewBox="0 0 20 20" aria-hidden="true">{mark(number, 10, 10, 7, filled=filled)}</svg>'


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


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least as large."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
