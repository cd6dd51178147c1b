"""Dedup: of near-equal texts the best goes on, and the trace names its twin."""

from __future__ import annotations

from ragstone.retrieval.duplicates import distinct
from ragstone.telemetry import Stage
from retrieval.candidates import candidate

LEAVE = "Every employee has twenty-five days of paid leave in a calendar year, and unused days expire in March."


def test_a_near_duplicate_is_dropped_with_the_name_of_the_better_one() -> None:
    stage = Stage(name="dedup")
    twin = LEAVE.replace("March.", "March!")
    kept = distinct([candidate(LEAVE, n=1), candidate(twin, n=2), candidate("Something else.", n=3)], 0.8, 10, stage)
    assert [c.chunk.id.int for c in kept] == [1, 3]
    assert [(d.chunk_id.int, d.reason) for d in stage.drops] == [(2, f"near-duplicate of {kept[0].chunk.id}")]


def test_a_text_of_few_words_is_compared_too() -> None:
    kept = distinct([candidate("Yes.", n=1), candidate("yes.", n=2), candidate("No.", n=3)], 0.9, 10, Stage(name="x"))
    assert [c.chunk.id.int for c in kept] == [1, 3]


def test_different_texts_stay() -> None:
    other = LEAVE.replace("twenty-five days of paid leave", "a company laptop and a phone for the job")
    assert len(distinct([candidate(LEAVE, n=1), candidate(other, n=2)], 0.9, 10, Stage(name="x"))) == 2


def test_what_is_beyond_the_limit_is_accounted_for() -> None:
    stage = Stage(name="dedup")
    kept = distinct([candidate(f"text number {n}", n=n) for n in range(5)], 0.9, 2, stage)
    assert [c.chunk.id.int for c in kept] == [0, 1]
    assert {d.chunk_id.int for d in stage.drops} == {2, 3, 4}
