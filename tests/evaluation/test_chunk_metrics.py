"""The measures against cases worked out by hand, and a second implementation that counts characters one by one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.evaluation.chunk_metrics import Range, precision_omega, scores

RANGES = st.tuples(st.integers(0, 60), st.integers(1, 25)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@pytest.mark.parametrize(
    ("retrieved", "references", "recall", "precision", "iou"),
    [
        pytest.param([(0, 100)], [(0, 100)], 1, 1, 1, id="exactly the reference"),
        pytest.param([(0, 100)], [(10, 30)], 1, 20 / 100, 20 / 100, id="more than the reference"),
        pytest.param([(0, 20)], [(10, 30)], 10 / 20, 10 / 20, 10 / 30, id="half of it and as much beside"),
        pytest.param([(40, 50)], [(10, 30)], 0, 0, 0, id="something else"),
        pytest.param([(0, 10)], [(10, 30)], 0, 0, 0, id="what stands before it"),
        pytest.param([(0, 50), (100, 150)], [(40, 60), (140, 145)], 15 / 25, 15 / 100, 15 / 110, id="two and two"),
        pytest.param([(0, 20), (10, 30)], [(10, 20)], 1, 10 / 40, 10 / 40, id="a repeated reference counts once"),
        pytest.param([(0, 20), (0, 20)], [(0, 10)], 1, 10 / 40, 10 / 40, id="a repeated chunk costs twice"),
        pytest.param([(0, 10)], [(0, 20), (10, 30)], 10 / 40, 10 / 10, 10 / 40, id="references that overlap"),
        pytest.param([], [(0, 10)], 0, 0, 0, id="nothing"),
    ],
)
def test_known_cases(
    retrieved: list[Range], references: list[Range], recall: float, precision: float, iou: float
) -> None:
    found = scores(retrieved, references)
    assert (found.recall, found.precision, found.iou) == pytest.approx((recall, precision, iou))


@pytest.mark.parametrize(
    ("chunks", "references", "expected"),
    [
        pytest.param([(0, 10), (11, 20), (21, 30)], [(12, 18)], 6 / 9, id="one chunk holds it"),
        pytest.param([(0, 10), (11, 20), (21, 30)], [(5, 15)], 9 / 20, id="two do, but for what lies between them"),
        pytest.param([(0, 20), (10, 30)], [(12, 18)], 6 / 30, id="overlaps count once"),
        pytest.param([(0, 10), (10, 20)], [(10, 20)], 10 / 20, id="a chunk that ends where it begins"),
        pytest.param([(0, 10)], [(20, 30)], 0, id="none does"),
    ],
)
def test_known_bounds(chunks: list[Range], references: list[Range], expected: float) -> None:
    assert precision_omega(chunks, references) == pytest.approx(expected)


@given(st.lists(RANGES, max_size=8), st.lists(RANGES, min_size=1, max_size=5))
def test_scores_are_what_counting_characters_gives(retrieved: list[Range], references: list[Range]) -> None:
    shown, marked = counted(retrieved), counted(references)
    held = len(shown.keys() & marked.keys())
    missed = sum(times for place, times in marked.items() if place not in shown)
    found = scores(retrieved, references)
    assert found.recall == pytest.approx(held / marked.total())
    assert found.precision == pytest.approx(held / shown.total() if retrieved else 0)
    assert found.iou == pytest.approx(held / (shown.total() + missed))


@given(st.lists(RANGES, max_size=8), st.lists(RANGES, min_size=1, max_size=5))
def test_the_bound_is_what_counting_characters_gives(chunks: list[Range], references: list[Range]) -> None:
    marked = set(counted(references))
    edges = {edge for reference in references for edge in reference}
    touching = [c for c in chunks if marked & set(range(*c)) or edges & set(c)]
    shown = set(counted(touching))
    assert precision_omega(chunks, references) == pytest.approx(len(shown & marked) / len(shown | marked))


@given(st.lists(RANGES, min_size=1, max_size=8), st.lists(RANGES, min_size=1, max_size=5))
def test_what_holds_all_that_is_marked_is_no_more_precise_than_the_bound(
    chunks: list[Range], references: list[Range]
) -> None:
    places = set(counted(chunks))
    if set(counted(references)) <= places:
        assert scores(chunks, references).precision <= precision_omega(chunks, references) + 1e-9


def counted(ranges: list[Range]) -> Counter[int]:
    """How many of the ranges hold each character."""
    return Counter(place for start, end in ranges for place in range(start, end))
