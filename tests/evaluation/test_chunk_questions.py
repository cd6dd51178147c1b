from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.marked import TEXTS, line, write
from ragstone.errors import SettingsError
from ragstone.evaluation.chunk_questions import read

GOOD = line("bees", "How?", ["dances"])


def test_marked_ranges_are_of_the_text(tmp_path: Path) -> None:
    bees, tides = read(write(tmp_path / "set"))
    assert [(bees.name, len(bees.questions)), (tides.name, len(tides.questions))] == [("bees", 3), ("tides", 1)]
    assert bees.document.text == TEXTS["bees"]
    assert bees.document.title == ""
    assert [bees.document.text[start:end] for start, end in bees.questions[1].references] == [
        "The bees shiver with their flight muscles",
        "fifteen kilograms of honey",
    ]


def test_corpora_and_questions_can_be_chosen(tmp_path: Path) -> None:
    [tides] = read(write(tmp_path / "set"), ["tides"])
    assert tides.name == "tides"
    bees, _ = read(tmp_path / "set", limit=2)
    assert len(bees.questions) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"corpus_id": "bees", "question": "How?"}, "2: references: Field required"),
        (GOOD | {"references": []}, "2: references: List should have at least 1"),
        (
            GOOD | {"references": [{"content": "dances", "start_index": 3, "end_index": 9}]},
            "'dances' does not stand at 3",
        ),
        (GOOD | {"references": [{"content": "", "start_index": 3, "end_index": 3}]}, "2: references.0.content"),
        (GOOD | {"corpus_id": "absent"}, "absent"),
        ("no object", "2: "),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, wrong: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read(write(tmp_path / "set", [GOOD, wrong]))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        read(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="no question about bears") as raised:
        read(write(tmp_path / "set"), ["bears"])
    assert "bees, tides" in raised.value.hint
