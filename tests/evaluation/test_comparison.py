"""Questions of a file, and what a comparison objects to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragstone.errors import SettingsError
from ragstone.evaluation.comparison import Comparison, Question, read_questions
from ragstone.settings import ReindexSettings


def test_questions_are_read_with_or_without_relevance(tmp_path: Path) -> None:
    asked = {"question": "Where\u2028is the kettle?", "relevant": ["file:///tea.md", "file:///kitchen.md"]}
    lines = [json.dumps(asked, ensure_ascii=False), "", json.dumps({"question": "And the lift?"}), ""]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    assert read_questions(tmp_path / "q.jsonl") == [
        Question(text="Where\u2028is the kettle?", relevant={"file:///tea.md": 1, "file:///kitchen.md": 1}),
        Question(text="And the lift?"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        '"a text"',
        "[1]",
        "{}",
        '{"question": ""}',
        '{"question": 7}',
        '{"question": "q", "relevant": "file:///tea.md"}',
        '{"question": "q", "relevant": {"file:///tea.md": 2}}',
        '{"question": "q", "relevant": [1]}',
        '{"question": "q", "relevant": null}',
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "q.jsonl").write_text(f'{{"question": "fine"}}\n\n{line}\n')
    with pytest.raises(SettingsError, match=r"q\.jsonl:3 ") as raised:
        read_questions(tmp_path / "q.jsonl")
    assert '"question"' in raised.value.hint


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe"])
def test_a_file_without_questions_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "q.jsonl").write_bytes(content)
    with pytest.raises(SettingsError, match=r"q\.jsonl"):
        read_questions(tmp_path / "q.jsonl")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="none"):
        read_questions(tmp_path / "none.jsonl")


def compared(
    overlap: float = 1.0, before: float | None = None, after: float | None = None, questions: int = 9
) -> Comparison:
    return Comparison(
        origin="given", questions=questions, judged=9, k=10, overlap=overlap, ndcg_before=before, ndcg_after=after
    )


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        (compared(0.5), []),
        (compared(0.49), ["overlap@10"]),
        (compared(1.0, 0.70, 0.68), []),
        (compared(1.0, 0.70, 0.67), ["nDCG@10"]),
        (compared(1.0, 0.70, 0.90), []),
        (compared(0.1, 0.70, 0.10), ["overlap@10", "nDCG@10"]),
        (compared(0.1, questions=0), []),
    ],
)
def test_what_is_under_the_bar_is_objected_to(comparison: Comparison, words: list[str]) -> None:
    found = comparison.objections(ReindexSettings(min_overlap=0.5, max_loss=0.021))
    assert [objection.split()[0] for objection in found] == words
