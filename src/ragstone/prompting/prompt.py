"""Passages → a prompt within its token budget."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from string import Template

from ragstone.chunking.statements import statements
from ragstone.errors import PromptTooLong
from ragstone.models import Message, Passage, Prompt
from ragstone.prompting.fence import fenced, neutral
from ragstone.settings import PromptSettings
from ragstone.tokens import TokenCounter

MESSAGE_OVERHEAD = 8
"""Tokens counted for each message beside its text: role, turn delimiters and the opening of the reply.

Common chat templates spend 4 to 7.
"""

WORTH_CUTTING = 1 / 3
"""A passage that does not fit is cut when at least this share of it does, else dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A prompt and what became of the passages that are not in it as they came."""

    prompt: Prompt
    dropped: tuple[tuple[Passage, str], ...]  # with the reason
    cut: tuple[tuple[Passage, str], ...]  # each as it was before, and how much was kept


def build(
    question: str, passages: Sequence[Passage], counter: TokenCounter, settings: PromptSettings, context_window: int
) -> Built:
    """A prompt of at most `min(settings.budget, context_window - settings.answer_reserve)` tokens.

    Passages come best first. When not all fit, the last ones are shown without what surrounds their chunks, as few as
    must be. Then the last ones go; the first one that does not fit is cut at the end of a sentence, list item, table
    row or line of code when a third of it fits, and the best passage is cut to whatever fits. Those kept are numbered
    anew from 1. Raises PromptTooLong when the instructions and the question, or these and the best source's first
    sentence, exceed the budget. (A sentence of more than 600 characters counts as several.)
    """
    draft = _Draft(question=question, counter=counter, settings=settings, context_window=context_window)
    draft.require(())
    narrowed = draft.narrowed(passages)
    whole = bisect_left(range(1, len(passages) + 1), True, key=lambda n: not draft.fits(narrowed[:n]))
    kept, rest = narrowed[:whole], narrowed[whole:]
    cut = draft.cut(kept, rest[0]) if rest else None
    if cut is None and passages and not kept:
        draft.require(narrowed[:1])
    shown = [*kept, cut] if cut else kept
    pairs = zip(passages, shown, strict=False)
    return Built(
        prompt=draft.prompt(shown),
        dropped=tuple((p, f"over the prompt's budget of {draft.budget} tokens") for p in passages[len(shown) :]),
        cut=tuple(
            (before, f"cut from {len(before.text)} to {len(after.text)} characters")
            for before, after in pairs
            if after.text != before.text
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """The parts of a prompt that stay while passages are tried."""

    question: str
    counter: TokenCounter
    settings: PromptSettings
    context_window: int

    @property
    def budget(self) -> int:
        return min(self.settings.budget, self.context_window - self.settings.answer_reserve)

    def prompt(self, passages: Sequence[Passage]) -> Prompt:
        numbered = tuple(replace(passage, number=number) for number, passage in enumerate(passages, start=1))
        system = _template("system").substitute(refusal=self.settings.refusal)
        sources = "\n\n".join(fenced(passage) for passage in numbered)
        user = _template("user").substitute(sources=sources, question=neutral(self.question))
        messages = (Message(role="system", content=system.strip()), Message(role="user", content=user.strip()))
        tokens = sum(self.counter(message.content) + MESSAGE_OVERHEAD for message in messages)
        return Prompt(question=self.question, passages=numbered, messages=messages, tokens=tokens)

    def fits(self, passages: Sequence[Passage]) -> bool:
        return self.prompt(passages).tokens <= self.budget

    def narrowed(self, passages: Sequence[Passage]) -> list[Passage]:
        """The passages, the last ones without what surrounds their chunks: as few as let all fit, or else all."""
        cores = [_core(passage) for passage in passages]
        numbers = range(1, len(passages) + 1)
        wide = bisect_left(numbers, True, key=lambda n: not self.fits([*passages[:n], *cores[n:]]))
        return [*passages[:wide], *cores[wide:]]

    def cut(self, kept: Sequence[Passage], passage: Passage) -> Passage | None:
        """As much of the passage's beginning as fits after those kept, or None when that is too little."""
        ends = [statement.end for statement in statements(passage)]
        count = bisect_left(ends, True, key=lambda end: not self.fits([*kept, _until(passage, end)]))
        enough = count > 0 and (not kept or ends[count - 1] >= WORTH_CUTTING * len(passage.text))
        return _until(passage, ends[count - 1]) if enough else None

    def require(self, passages: Sequence[Passage]) -> None:
        tokens = self.prompt(passages).tokens
        if tokens > self.budget:
            what = (
                "the instructions, the question and the best source"
                if passages
                else "the instructions and the question"
            )
            raise PromptTooLong(
                f"{what} take {tokens} tokens, and the prompt may have {self.budget}",
                hint="ask a shorter question, or raise prompt.budget (within generation.context_window less "
                "prompt.answer_reserve)",
            )


def _core(passage: Passage) -> Passage:
    if passage.core is None:
        return passage
    start, end = passage.core
    return replace(
        passage, text=passage.text[start - passage.start : end - passage.start], start=start, end=end, core=None
    )


def _until(passage: Passage, end: int) -> Passage:
    return replace(passage, text=passage.text[:end], end=passage.end - (len(passage.text) - end))


@cache
def _template(name: str) -> Template:
    return Template((files(__package__) / "templates" / f"{name}.txt").read_text(encoding="utf-8"))
