"""The results of index_engines.py as a Markdown table, printed and written between the markers of a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- made by make bench-index-engines -->", "<!-- end of what is made -->"

Row = Mapping[str, Any]

COLUMNS = (
    "engine",
    "passages",
    "write + build",
    "memory",
    "disk",
    "recall .95: p50 / p99, QPS (ef)",
    "recall .99: p50 / p99, QPS (ef)",
    "50 %",
    "1 %",
    "0.1 %",
    "BM25 p50",
    "hybrid p50",
    "upsert / delete shows after",
)


def write_table(results: Sequence[Row], page: Path | None) -> None:
    """The last result of each engine and size, by size."""
    newest = {(row["points"], row["engine"]): row for row in results}
    text = table([newest[key] for key in sorted(newest, key=lambda key: key[0])])
    print(f"\n{text}")
    if page is not None:
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        _, found, after = rest.partition(END)
        if not found:
            raise SystemExit(f"{page} has no place for the table: {BEGIN} … {END}")
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def table(rows: Sequence[Row]) -> str:
    lines = [line(COLUMNS), line("---" for _ in COLUMNS)]
    failed = [row for row in rows if row["error"]]
    lines += [line(cells(row)) for row in rows if not row["error"]]
    lines += ["", *(f"{row['engine']} at {row['points']:,} failed: {row['error']}" for row in failed)] if failed else []
    machines = dict.fromkeys(row["machine"] for row in rows)
    versions = dict.fromkeys(f"{row['engine']} {row['version']}" for row in rows if row["version"])
    return "\n".join([*lines, "", f"On {'; '.join(machines)}. {', '.join(versions)}."])


def cells(row: Row) -> list[str]:
    filtered = row["filtered"]
    return [
        name(row["engine"]),
        f"{row['points']:,}",
        f"{row['write']:.0f} + {row['build']:.0f} s",
        size(row["memory"]),
        size(row["disk"]),
        target(row["targets"].get("0.95")),
        target(row["targets"].get("0.99")),
        *(f"{recall(filtered[share])}, {ms(filtered[share]['p50'])} ms" for share in ("0.5", "0.01", "0.001")),
        f"{ms(row['bm25']['p50'])} ms",
        f"{ms(row['hybrid']['p50'])} ms",
        f"{ms(row['upsert_ms'])} / {ms(row['delete_ms'])} ms",
    ]


def name(url: str) -> str:
    return url.partition("+")[0]


def size(bytes_: int | None) -> str:
    return "elsewhere" if bytes_ is None else f"{bytes_ / 2**20:,.0f} MiB" if bytes_ else "none"


def target(found: Row | None) -> str:
    if found is None:
        return "not reached"
    return f"{ms(found['p50'])} / {ms(found['p99'])} ms, {found['qps']:,.0f} ({found['ef']})"


def ms(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def recall(found: Row) -> str:
    return f"{found['recall']:.3f}".lstrip("0")


def line(found: Iterable[str]) -> str:
    return "| " + " | ".join(found) + " |"
