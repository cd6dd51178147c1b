"""What a sweep of `ef` found: one HTML file with its curves, that needs nothing else, in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template

from ragstone.index.tuning import CLIENTS, Curve, Figures, Tuning
from ragstone.plot import BOTTOM, HEIGHT, LEFT, RIGHT, STYLE, TOP, WIDTH, Axis, grid, key, line, mark, svg

SMALL, LARGE = 5.0, 8.5  # half the width of a mark; the large ones are of the chosen breadth

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style.target { stroke: var(--text); stroke-dasharray: 6 5; }
.reach { stroke: var(--ink); stroke-opacity: .55; stroke-width: 1.5; }
svg text.strong { fill: var(--text); }
strong { color: var(--text); }
tr.chosen td { font-weight: 700; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$outcome</p>
$plot
<ul class="legend">$legend</ul>
<p>Further up finds more, further left is quicker. A mark is one breadth of the graph search (<code>ef</code>), a line
joins those under filters that let the same share of the documents through; figures beside it are values of
<code>ef</code>. The stroke below a mark ends where the recall surely lies above, at 95 % confidence: where that is past
the dashed line, the mark is filled. Point at a mark for its figures.</p>
<div class="scroll">$table</div>
<p>$setting</p>
</body>
</html>
""")


def page(tuning: Tuning, *, collection: str, engine: str, model: str) -> str:
    """The whole file."""
    return _PAGE.substitute(
        style=STYLE,
        title=escape(f"Recall and latency of {engine} on {collection}"),
        outcome=_outcome(tuning),
        plot=_plot(tuning),
        legend=_legend(tuning),
        table=_table(tuning),
        setting=escape(_setting(tuning, model)),
    )


def name_of(share: float) -> str:
    """What people call a selectivity."""
    return "no filter" if share >= 1 else f"{share * 100:g} %"


def _outcome(tuning: Tuning) -> str:
    target = f"recall@{tuning.plan.k} of {tuning.plan.recall:g}"
    if tuning.exhaustive:
        return "Even the least breadth finds everything: searching so few chunks is as good as a scan."
    if tuning.ef is None:
        return f"No breadth surely reaches a {target} at every selectivity."
    return f"<strong>ef {tuning.ef}</strong> is the least that surely reaches a {target} at every selectivity."


def _setting(tuning: Tuning, model: str) -> str:
    left_out = "".join(
        f" A filter of {name_of(share)} is left out: it lets {points} chunks through at most."
        for share, points in tuning.left_out.items()
    )
    return (
        f"{tuning.queries} queries, embedded with {model}. Each is asked for its {tuning.plan.k} nearest, and compared "
        f"with those that exact search finds. Latencies are of one search at a time, queries a second of {CLIENTS}."
        f"{left_out}"
    )


# --- the plot -------------------------------------------------------------------------------------------------------


def _plot(tuning: Tuning) -> str:
    everything = [figures for curve in tuning.curves for figures in curve.figures]
    across = Axis.logarithmic_around([figures.p50_ms for figures in everything], LEFT, WIDTH - RIGHT)
    lowest = min(figures.at_least for figures in everything)
    upwards = Axis.around([lowest, tuning.plan.recall, 1.0], HEIGHT - BOTTOM, TOP)
    target = upwards.place(tuning.plan.recall)
    parts = grid(across, upwards, "latency of a search in ms (median, logarithmic)", f"recall@{tuning.plan.k} (mean)")
    parts.append(f'<line class="target" x1="{LEFT}" y1="{target}" x2="{WIDTH - RIGHT}" y2="{target}"/>')
    for number, curve in enumerate(tuning.curves):
        parts += _drawn(number, curve, tuning, across, upwards)
    return svg(parts, "Recall against the latency of a search, by selectivity. The table below has the figures.")


def _drawn(number: int, curve: Curve, tuning: Tuning, across: Axis, upwards: Axis) -> list[str]:
    places = [(across.place(figures.p50_ms), upwards.place(figures.recall)) for figures in curve.figures]
    parts = [line(number, places)]
    for figures, (x, y) in zip(curve.figures, places, strict=True):
        chosen = figures.ef == tuning.ef
        low = upwards.place(figures.at_least)
        parts.append(f'<line class="reach s{number}" x1="{x}" y1="{y}" x2="{x}" y2="{low}"/>')
        half = LARGE if chosen else SMALL
        sure = figures.at_least >= tuning.plan.recall
        parts.append(mark(number, x, y, half, filled=sure, title=_title(curve, figures)))
        if curve is tuning.curves[0]:
            style = ' class="strong"' if chosen else ""
            parts.append(f'<text{style} x="{x - 13}" y="{y + 5}" text-anchor="end">{figures.ef}</text>')
    return parts


def _title(curve: Curve, figures: Figures) -> str:
    return (
        f"{name_of(curve.share)}, ef {figures.ef}: recall {figures.recall:.4f}, at least {figures.at_least:.4f}, "
        f"p50 {figures.p50_ms:.2f} ms, p99 {figures.p99_ms:.2f} ms, {figures.qps:.0f} queries/s"
    )


def _legend(tuning: Tuning) -> str:
    keys = [f"<li>{key(n, filled=True)} {name_of(curve.share)}</li>" for n, curve in enumerate(tuning.curves)]
    return "".join([*keys, "<li>filled: surely reaches the target</li>", "<li>large: chosen</li>"])


# --- the table ------------------------------------------------------------------------------------------------------


def _table(tuning: Tuning) -> str:
    names = ["filter", "ef", "recall", "at least", "p50 ms", "p99 ms", "queries/s"]
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = [_row(curve, figures, tuning.ef) for curve in tuning.curves for figures in curve.figures]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row(curve: Curve, figures: Figures, ef: int | None) -> str:
    cells = "".join(f"<td>{cell}</td>" for cell in cells_of(curve, figures))
    return f"<tr{' class=chosen' if figures.ef == ef else ''}>{cells}</tr>"


def cells_of(curve: Curve, figures: Figures) -> Sequence[str]:
    """A row of a table: filter, ef, recall, its lower bound, p50, p99, queries a second."""
    return [
        name_of(curve.share),
        str(figures.ef),
        f"{figures.recall:.4f}",
        f"{figures.at_least:.4f}",
        f"{figures.p50_ms:.2f}",
        f"{figures.p99_ms:.2f}",
        f"{figures.qps:.0f}",
    ]
