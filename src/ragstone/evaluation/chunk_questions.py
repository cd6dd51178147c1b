"""Questions whose answers are marked in the text, in the layout of Chroma's chunking evaluation.

`questions.jsonl` has a question a line: `corpus_id`, `question`, and `references` with the `content`, `start_index` and
`end_index` of each marked range, in characters; `corpora/` has the text of each corpus in a file named after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from ragstone.errors import SettingsError
from ragstone.evaluation.chunk_metrics import Range
from ragstone.models import Document
from ragstone.parsing.parse import parse

LAYOUT = "it takes questions.jsonl and corpora/NAME.md, as github.com/brandonstarxel/chunking_evaluation has them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and the ranges of the corpus that answer it."""

    text: str
    references: tuple[Range, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """One text and what is asked about it."""

    name: str
    document: Document
    questions: tuple[Question, ...]


class _Reference(BaseModel):
    content: str = Field(min_length=1)
    start_index: int = Field(ge=0)
    end_index: int


class _Line(BaseModel):
    corpus_id: str
    question: str = Field(min_length=1)
    references: list[_Reference] = Field(min_length=1)


def read(folder: Path, names: Sequence[str] = (), limit: int | None = None) -> list[Corpus]:
    """The corpora of those names, or all, each with its first `limit` questions.

    Raises SettingsError for what is missing or not as the layout says, DocumentError for a text that cannot be parsed.
    """
    questions: dict[str, list[tuple[str, _Line]]] = {}
    for place, line in _lines(folder / "questions.jsonl"):
        questions.setdefault(line.corpus_id, []).append((place, line))
    if unknown := [name for name in names if name not in questions]:
        raise SettingsError(
            f"{folder} has no question about {', '.join(unknown)}", hint=f"there are {', '.join(questions)}"
        )
    return [_corpus(folder, name, questions[name][:limit]) for name in names or questions]


def _lines(file: Path) -> Iterator[tuple[str, _Line]]:
    """Each line that is not blank, after its place as `file:line`."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {file}: {error}", hint=LAYOUT) from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"{file}:{number}", _Line.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise SettingsError(f"{file}:{number}: {where}: {first['msg']}", hint=LAYOUT) from None


def _corpus(folder: Path, name: str, asked: Sequence[tuple[str, _Line]]) -> Corpus:
    document = _document(folder, name)
    return Corpus(
        name=name, document=document, questions=tuple(_question(place, line, document.text) for place, line in asked)
    )


def _document(folder: Path, name: str) -> Document:
    """The parsed text, without a title: that of many texts in one file, or its name, says nothing of a part of it."""
    files = sorted(file for file in (folder / "corpora").glob("*") if file.stem == name)
    if len(files) != 1:
        raise SettingsError(f"there must be one file {folder / 'corpora' / name}.*, not {len(files)}", hint=LAYOUT)
    return replace(parse(files[0].read_bytes(), files[0].name), title="")


def _question(place: str, line: _Line, text: str) -> Question:
    for reference in line.references:
        if text[reference.start_index : reference.end_index] != reference.content:
            raise SettingsError(
                f"{place}: {reference.content[:40]!r} does not stand at {reference.start_index} of {line.corpus_id}"
            )
    ranges = tuple((reference.start_index, reference.end_index) for reference in line.references)
    return Question(text=line.question, references=ranges)
