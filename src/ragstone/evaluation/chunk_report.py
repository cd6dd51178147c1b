"""The chunk lab's report: one HTML file that needs nothing else, in light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from ragstone.evaluation.chunk_lab import MEASURES, Result
from ragstone.evaluation.chunk_plot import plot
from ragstone.plot import STYLE, key

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
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
        style=STYLE,
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
    keys = [f"<li>{key(n, filled=True)} {escape(strategy)}</li>" for n, strategy in enumerate(strategies)]
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
