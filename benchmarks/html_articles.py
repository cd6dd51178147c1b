"""How much of the main text of real news pages is found, and how much beside it.

    python benchmarks/html_articles.py FOLDER

FOLDER holds `ground-truth.json` and `html/*.html.gz` of
https://github.com/scrapinghub/article-extraction-benchmark. Scored as there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from corpus import machine

from ragstone.parsing.parse import parse

SHINGLE = 4
"""Words."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    folder = arguments.parse_args().folder
    truths = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    began = time.perf_counter()
    pairs = [(truth["articleBody"], extracted(folder / "html" / f"{name}.html.gz")) for name, truth in truths.items()]
    took = time.perf_counter() - began
    precision, recall, f1 = scores(pairs)
    print(machine())
    print(f"{len(pairs)} pages, {1000 * took / len(pairs):.0f} ms a page")
    print(f"F1 {f1:.3f}, precision {precision:.3f}, recall {recall:.3f}")


def extracted(page: Path) -> str:
    return parse(gzip.decompress(page.read_bytes()), page.stem).text


def scores(pairs: Sequence[tuple[str, str]]) -> tuple[float, float, float]:
    """Precision, recall, F1 of (truth, extraction) pairs: averages without the pages where one is undefined."""
    counted = [counts(truth, found) for truth, found in pairs]
    precision = mean(hits / found for hits, _, found in counted if found)
    recall = mean(hits / truth for hits, truth, _ in counted if truth)
    return precision, recall, 2 * precision * recall / (precision + recall)


def counts(truth: str, found: str) -> tuple[int, int, int]:
    """Shingles in both, in the truth, and in what was found."""
    expected, extraction = shingles(truth), shingles(found)
    return (expected & extraction).total(), expected.total(), extraction.total()


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """Runs of four words, with how often each is there; a shorter text is one run."""
    words = re.findall(r"\w+", text)
    if len(words) < SHINGLE:
        return Counter([tuple(words)] if words else [])
    return Counter(zip(*(words[first:] for first in range(SHINGLE)), strict=False))


if __name__ == "__main__":
    main()
