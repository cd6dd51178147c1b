"""A small data set in the layout of the chunking evaluation: two texts, and questions whose answers are marked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

BEES = """\
# Bees

A bee that has found nectar returns to the hive and dances. The angle of her waggle run is the angle of the food to the
sun, and the length of the run tells how far away it lies.

# Winter

In winter the colony forms a cluster around the queen. The bees shiver with their flight muscles to keep the middle of
the cluster at about 35 degrees. They live on some fifteen kilograms of honey until spring.

# Swarms

In May the old queen leaves with half of the workers. They hang from a branch while scouts look for a hollow tree. The
part XR-4471 of the trap hive must be oiled before the season.
"""
TIDES = """\
# Tides

The pull of the moon raises the sea twice a day. When sun and moon stand in one line, the tide is highest: this is the
spring tide, and it comes every fortnight.

# Harbours

A harbour with a lock keeps its water at ebb. Ships wait in the outer basin until the gate can be opened.
"""
TEXTS = {"bees": BEES, "tides": TIDES}

QUESTIONS = [
    ("bees", "How does a bee tell the others where food is?", ["The angle of her waggle run is the angle of the food"]),
    (
        "bees",
        "How do bees survive the cold?",
        ["The bees shiver with their flight muscles", "fifteen kilograms of honey"],
    ),
    ("bees", "Is XR-4471 what keeps bees alive when it is cold?", ["XR-4471 of the trap hive must be oiled"]),
    ("tides", "When is the tide highest?", ["When sun and moon stand in one line, the tide is highest"]),
]


def write(folder: Path, lines: Sequence[object] | None = None) -> Path:
    """The data set, or the texts with other lines of questions."""
    (folder / "corpora").mkdir(parents=True)
    for name, text in TEXTS.items():
        (folder / "corpora" / f"{name}.md").write_text(text)
    written = [line(*question) for question in QUESTIONS] if lines is None else lines
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, written)))
    return folder


def line(corpus: str, question: str, marked: Sequence[str]) -> dict[str, object]:
    starts = [TEXTS[corpus].index(text) for text in marked]
    references = [
        {"content": text, "start_index": start, "end_index": start + len(text)}
        for text, start in zip(marked, starts, strict=True)
    ]
    return {"corpus_id": corpus, "question": question, "references": references}
