"""The flow of an answer: retrieve → prompt → generate, as one stream of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID, uuid4

from ragstone.generation.base import Generator
from ragstone.index.filters import Filter
from ragstone.models import Citation, Passage, Prompt, Scope
from ragstone.prompting.citations import CitationEvent, CitationScanner, Cited, Text, Unknown
from ragstone.prompting.prompt import Built, build
from ragstone.retrieval.pipeline import Retrieved, Retriever
from ragstone.settings import PromptSettings, RetrievalSettings
from ragstone.telemetry import Stage, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The first event: what the answer will be drawn from."""

    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The last event: the whole answer, what it cites, and the account of every stage."""

    id: UUID
    text: str
    refused: bool
    citations: tuple[Citation, ...]
    unknown_citations: tuple[int, ...]  # numbers that named no source: they were taken out of the text
    generator: str
    prompt_tokens: int
    trace: Trace = field(repr=False)


Event: TypeAlias = Sources | Token | Done


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerer:
    """Answers questions from what retrieval finds, or says that it does not know."""

    retriever: Retriever
    generator: Generator

    async def answer(
        self,
        question: str,
        scope: Scope,
        retrieval: RetrievalSettings,
        prompting: PromptSettings,
        where: Filter | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Sources, then Tokens, then Done. Closing the iterator early cancels what is under way.

        Raises what retrieval, the prompt and the generator raise. Without passages the generator is not called.
        """
        found, prompt = await self.prepare(question, scope, retrieval, prompting, where)
        yield Sources(passages=prompt.passages)
        written = _Written(CitationScanner(prompt.passages))
        with found.trace.stage("generate"):
            async with aclosing(self._pieces(prompt, prompting)) as pieces:
                async for piece in pieces:
                    for text in written.add(piece):
                        yield Token(text=text)
            for text in written.end():
                yield Token(text=text)
        refused = not written.text.strip()
        if refused:
            yield Token(text=prompting.refusal)
        yield Done(
            id=uuid4(),
            text=prompting.refusal if refused else written.text,
            refused=refused or written.text.strip() == prompting.refusal,
            citations=tuple(written.citations.values()),
            unknown_citations=tuple(written.unknown),
            generator=self.generator.name,
            prompt_tokens=prompt.tokens,
            trace=found.trace,
        )

    async def prepare(
        self,
        question: str,
        scope: Scope,
        retrieval: RetrievalSettings,
        prompting: PromptSettings,
        where: Filter | None = None,
    ) -> tuple[Retrieved, Prompt]:
        """All that comes before generation; its trace ends with the stage `prompt`."""
        found = await self.retriever.retrieve(question, scope, retrieval, where)
        with found.trace.stage("prompt") as stage:
            built = build(question, found.passages, self.generator.count, prompting, self.generator.context_window)
            _account(stage, built, len(found.passages))
        return found, built.prompt

    async def _pieces(self, prompt: Prompt, prompting: PromptSettings) -> AsyncGenerator[str, None]:
        if prompt.passages:
            async with aclosing(self.generator.stream(prompt, prompting.answer_reserve)) as pieces:
                async for piece in pieces:
                    yield piece


class _Written:
    """The answer so far, with its citations checked."""

    def __init__(self, scanner: CitationScanner) -> None:
        self._scanner = scanner
        self.text = ""
        self.citations: dict[int, Citation] = {}
        self.unknown: list[int] = []

    def add(self, piece: str) -> Iterator[str]:
        """The text that can be shown now."""
        return self._take(self._scanner.feed(piece))

    def end(self) -> Iterator[str]:
        return self._take(self._scanner.finish())

    def _take(self, events: Iterable[CitationEvent]) -> Iterator[str]:
        for event in events:
            match event:
                case Text(text=text):
                    self.text += text
                    yield text
                case Cited(citation=citation):
                    self.citations.setdefault(citation.number, citation)
                case Unknown(number=number):
                    self.unknown.append(number)


def _account(stage: Stage, built: Built, taken: int) -> None:
    stage.taken, stage.given = taken, len(built.prompt.passages)
    stage.note = "; ".join(reason for _, reason in built.cut)
    for passage, reason in built.dropped:
        for chunk_id in passage.chunk_ids:
            stage.drop(chunk_id, reason)
