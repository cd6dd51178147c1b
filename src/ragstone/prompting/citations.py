"""Check the citations of an answer while it streams."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ragstone.models import Citation, Passage


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer. Markers that name a source stay in it."""

    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """The Text before ends with a marker that names this source."""

    citation: Citation


@dataclass(frozen=True, slots=True)
class Unknown:
    """A number that names no source. It was taken out of the text."""

    number: int


CitationEvent: TypeAlias = Text | Cited | Unknown

_GROUP = r"\[(?=[\d,; ]{1,40}\]) *\d{1,3}(?: *[,;] *\d{1,3})* *\]"
_TOKEN = re.compile(rf"(?P<ticks>`+)|(?P<line>\n)|(?P<blank> ?)(?P<run>(?:{_GROUP})+)(?P<link>\(?)")
# The end of a text to which more may come that makes it a token, or a token of another meaning.
_OPEN = re.compile(rf"(?:`+| ?(?:{_GROUP})*(?:\[[\d,; ]{{0,40}})?)\Z")
# A bracket right after one of these is an index into something: i[1], row_count[2], .items[3], $x[4].
_INDEXED = re.compile(r"(?:(?<![\w'’])[a-z]|\w*_\w*|[.:$@&>][a-z]\w*)\Z", re.ASCII)
_LOOK_BACK = 4000  # characters; a longer quotation is not recognised as one


class CitationScanner:
    """Finds `[1]`, `[1, 2]` and `[1][2]` in a text that comes in pieces; how it is cut into pieces changes nothing.

    What passes untouched: code between backticks; a Markdown link `[1](…)`; an index such as `a[0]`, `row_id[2]` or
    `self.rows[3]`; `word[0]`, since sources count from 1; and a marker within “…” that the source itself has there.
    `word[2]` is a citation: models often leave the blank out. Of a group, only the numbers without a source are
    taken out: `[1, 9]` becomes `[1]`.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = {passage.number: passage for passage in passages}
        self._held = ""  # the end of what came, not yet given out
        self._said = ""  # what came before it
        self._code = ""  # the backticks that opened the code we are in

    def feed(self, piece: str) -> list[CitationEvent]:
        """What is certain after one more piece."""
        text = self._held + piece
        held = _OPEN.search(text)
        assert held is not None  # at the very end it matches nothing at all
        self._held = held[0]
        return self._scan(text[: held.start()])

    def finish(self) -> list[CitationEvent]:
        """What was held back, now that the answer has ended."""
        text, self._held = self._held, ""
        return self._scan(text)

    def _scan(self, text: str) -> list[CitationEvent]:
        events: list[CitationEvent] = []
        done = 0
        for token in _TOKEN.finditer(text):
            said = (self._said + text[: token.start()])[-_LOOK_BACK:]
            if token["run"] is None:
                self._code = self._code_after(token)
            elif self._is_ours(said, token):
                self._code = ""
                marker, found = self._checked(said, token)
                events += [Text(text[done : token.start()] + marker), *found]
                done = token.end()
        self._said = (self._said + text)[-_LOOK_BACK:]
        return [event for event in [*events, Text(text[done:])] if event != Text("")]

    def _code_after(self, token: re.Match[str]) -> str:
        """A fence lasts until it is closed, other code until its line ends."""
        if token["line"]:
            return self._code if len(self._code) >= 3 else ""
        return "" if token["ticks"] == self._code else self._code or token["ticks"]

    def _is_ours(self, said: str, token: re.Match[str]) -> bool:
        """Whether a run of markers was put there to cite.

        After a quotation it always is: backticks in what is quoted need not come in pairs.
        """
        glued = bool(said) and not token["blank"]
        if token["link"] or (glued and _is_index(said, token["run"])):
            return False
        if self._code:
            return any(_quote(said, passage.text) for passage in self._passages.values())
        return not self._is_quoted(said, token[0])

    def _is_quoted(self, said: str, marker: str) -> bool:
        """Whether a source has the marker too, after the same words since a quotation was opened."""
        quoted = [said[opened.end() :] + marker for opened in re.finditer("“", said)]
        return any(text in passage.text for text in quoted for passage in self._passages.values())

    def _checked(self, said: str, token: re.Match[str]) -> tuple[str, list[Cited | Unknown]]:
        """The marker as it may stand in the answer, and what was found in it."""
        kept = re.sub(_GROUP, self._known, token["run"])
        numbers = _numbers(token["run"])
        found = [self._cited(number, said) if number in self._passages else Unknown(number) for number in numbers]
        return token["blank"] + kept if kept else "", found

    def _known(self, group: re.Match[str]) -> str:
        """A group without the numbers that name no source."""
        numbers = _numbers(group[0])
        known = [str(number) for number in numbers if number in self._passages]
        if len(known) == len(numbers):
            return group[0]
        return f"[{', '.join(known)}]" if known else ""

    def _cited(self, number: int, said: str) -> Cited:
        passage = self._passages[number]
        return Cited(Citation(number=number, passage=passage, quote=_quote(said, passage.text)))


def _is_index(said: str, run: str) -> bool:
    return _INDEXED.search(said[-64:]) is not None or (said[-1].isalnum() and 0 in _numbers(run))


def _numbers(run: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", run)]


def _quote(said: str, source: str) -> str | None:
    """The longest “quotation” that ends `said` and stands word for word in the source."""
    said = said.rstrip()
    if not said.endswith("”"):
        return None
    starts = [match.end() for match in re.finditer("“", said)]
    return next((said[start:-1] for start in starts if said[start:-1] in source), None)
