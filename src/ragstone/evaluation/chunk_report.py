"""The chunk lab's report: one HTML file that needs nothing else, in light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from ragstone.evaluation.chunk_lab import MEASURES, Result
from ragstone.evaluation.chunk_plot import plot, sample

# Colours of Okabe and Ito, made darker on light ground and lighter on dark until each stands out 3:1 at least.
_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
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
</style>
</head>
<body>
<h1>$title</h1>
<p>$setting</p>
$plot
<ul class="legend">$legend</ul>
<p>Further up is better, further left is cheaper. Larger marks are larger chunks; lines join the sizes of a strategy.
Point at a mark for its figures.</p>
<div class="scroll">$table</div>
<p>Mean and standard deviation over all questions. Recall, precision and IoU are of the chunks retrieved; precision Ω is
the precision if every chunk with marked text, and no other, were retrieved. “Recall in $budget tokens” takes the best
chunks until their tokens, and the beginning of the last, make $budget. The measures are those of Chroma's
<a href="https://github.com/brandonstarxel/chunking_evaluation">chunking evaluation</a>, counted in characters.</p>
<div class="scroll">$corpora</div>
</body>
</html>
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured, and on what."""

    dataset: str
    model: str
    search: str
    top_k: int
    budget: int
    questions: Mapping[str, int]  # by corpus
    left_out: Sequence[int]  # sizes over the model's limit
    results: Sequence[Result]


def headings(budget: int) -> dict[str, str]:
    """What people call each measure."""
    names = ("recall", "precision", "IoU", "precision Ω", f"recall in {budget} tokens")
    return dict(zip(MEASURES, names, strict=True))


def page(report: Report) -> str:
    """The whole file."""
    strategies = list(dict.fromkeys(result.strategy for result in report.results))
    return _PAGE.substitute(
        title=escape(f"Chunking of {report.dataset}"),
        setting=escape(_setting(report)),
        plot=plot(report.results, strategies, report.top_k),
        legend=_legend(strategies),
        table=_table(report),
        corpora=_by_corpus(report),
        budget=report.budget,
    )


def _setting(report: Report) -> str:
    asked = ", ".join(f"{name} {count}" for name, count in report.questions.items())
    left_out = "".join(f" Size {size} is over the model's limit." for size in report.left_out)
    return (
        f"{sum(report.questions.values())} questions ({asked}), each asked of its own corpus. "
        f"{report.search} search with {report.model}; the {report.top_k} best chunks count.{left_out}"
    )


def _legend(strategies: Sequence[str]) -> str:
    keys = [f"<li>{sample(n, filled=True)} {escape(strategy)}</li>" for n, strategy in enumerate(strategies)]
    return "".join([*keys, "<li>filled: with overlap, hollow: without</li>"])


def _table(report: Report) -> str:
    names = headings(report.budget)
    best = {measure: max(result.figures[measure].mean for result in report.results) for measure in names}
    head = _row("th", ["strategy", "size", "overlap", "chunks", "tokens a chunk", "tokens retrieved", *names.values()])
    rows = []
    for result in report.results:
        known = [str(result.chunks), f"{result.chunk_tokens:.0f}", f"{result.shown_tokens:.0f}"]
        cells = "".join(
            f"<td{' class=best' if figure.mean == best[measure] else ''}>{figure.mean:.3f}"
            f" <small>± {figure.std:.3f}</small></td>"
            for measure, figure in result.figures.items()
        )
        rows.append(f"<tr>{_row('td', [*_way(result), *known])}{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _by_corpus(report: Report) -> str:
    head = _row("th", ["strategy", "size", "overlap", *report.questions])
    recalls = [[f"{result.corpora[name]['recall']:.3f}" for name in report.questions] for result in report.results]
    rows = [f"<tr>{_row('td', [*_way(r), *own])}</tr>" for r, own in zip(report.results, recalls, strict=True)]
    caption = "<caption>Recall by corpus</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _way(result: Result) -> list[str]:
    return [result.strategy, str(result.max_tokens), f"{result.overlap:g}"]


def _row(tag: str, cells: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
