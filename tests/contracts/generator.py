"""What every generator keeps to."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from uuid import UUID

from ragstone.generation.base import Generator
from ragstone.models import Passage, Prompt
from ragstone.prompting.prompt import build
from ragstone.settings import PromptSettings

QUESTION = "How many weeks of parental leave are there?"
TEXTS = (
    "Parental leave is sixteen weeks. It may be taken in two parts. Both parents have it.",
    "Sick leave needs a note from the third day on. The note goes to the office.",
)


def passage(number: int, text: str, *path: str) -> Passage:
    return Passage(
        number=number, document_id=UUID(int=number), version_id=UUID(int=number), chunk_ids=(UUID(int=number),),
        uri=f"file:///handbook/{number}.md", title="Handbook", path=path, pages=None, start=0, end=len(text), text=text,
        modified_at=None, cosine=0.5, bm25=1.0, score=1.0,
    )  # fmt: skip


def prompt_for(
    generator: Generator, question: str = QUESTION, texts: tuple[str, ...] = TEXTS, budget: int = 3000
) -> Prompt:
    passages = [passage(number, text) for number, text in enumerate(texts, start=1)]
    return build(question, passages, generator.count, PromptSettings(budget=budget), generator.context_window).prompt


async def answer(generator: Generator, prompt: Prompt, max_tokens: int = 24) -> list[str]:
    async with aclosing(generator.stream(prompt, max_tokens)) as pieces:
        return [piece async for piece in pieces]


class GeneratorContract:
    """Subclasses give the `generator` fixture."""

    async def test_it_streams_pieces_of_text(self, generator: Generator) -> None:
        pieces = await answer(generator, prompt_for(generator))
        assert len(pieces) > 1
        assert all(isinstance(piece, str) and piece for piece in pieces)

    async def test_it_says_who_it_is_and_what_it_can_take(self, generator: Generator) -> None:
        assert generator.name
        assert generator.context_window >= 512

    async def test_counts_grow_with_the_text(self, generator: Generator) -> None:
        assert generator.count("") == 0
        assert 0 < generator.count("sixteen weeks") < generator.count("sixteen weeks " * 50)

    async def test_an_answer_keeps_to_its_limit(self, generator: Generator) -> None:
        prompt = prompt_for(generator)
        short = "".join(await answer(generator, prompt, max_tokens=24))
        assert generator.count(short) <= max(3 * 24, generator.count(TEXTS[0]))
        assert len(short) <= len("".join(await answer(generator, prompt, max_tokens=80)))

    async def test_closing_early_leaves_it_usable(self, generator: Generator) -> None:
        prompt = prompt_for(generator)
        async with aclosing(generator.stream(prompt, 80)) as pieces:
            assert await anext(pieces)
        assert await answer(generator, prompt)

    async def test_cancelling_the_reader_leaves_it_usable(self, generator: Generator) -> None:
        prompt = prompt_for(generator)
        reader = asyncio.create_task(answer(generator, prompt, max_tokens=80))
        await asyncio.sleep(0)
        reader.cancel()
        assert isinstance((await asyncio.gather(reader, return_exceptions=True))[0], list | asyncio.CancelledError)
        assert await answer(generator, prompt)

    async def test_answers_may_run_side_by_side(self, generator: Generator) -> None:
        prompt = prompt_for(generator)
        assert all(await asyncio.gather(answer(generator, prompt), answer(generator, prompt)))

    async def test_it_can_be_closed_twice(self, generator: Generator) -> None:
        await generator.aclose()
        await generator.aclose()
