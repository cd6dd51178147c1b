from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.generator import GeneratorContract, answer, passage, prompt_for
from ragstone.embedding.choosing import origin_of
from ragstone.embedding.files import cache_folder, pull
from ragstone.embedding.local import LocalEmbedder
from ragstone.generation.extractive import OPENING, ExtractiveGenerator
from ragstone.models import Citation, Passage
from ragstone.prompting.citations import CitationScanner, Cited
from ragstone.prompting.prompt import build
from ragstone.settings import GenerationSettings, PromptSettings

LEAVE = "Both parents have sixteen weeks at full pay. They are taken within eighteen months after birth or adoption."
SICK = "A doctor's note is needed from the fourth day of sick leave. Send it to the people team."
NOTICE = "## Notice period\n\nIt is three months for team leads. Everyone else gives six weeks."
WIFI = "| Network | Password |\n|---|---|\n| guests | heron-42 |\n| staff | see the vault |"


def words_only(sentences: int = 3) -> ExtractiveGenerator:
    return ExtractiveGenerator(GenerationSettings(sentences=sentences))


async def quotations(generator: ExtractiveGenerator, question: str, *passages: Passage) -> list[Citation]:
    """What is quoted, as a reader of the answer finds it."""
    prompt = build(question, passages, generator.count, PromptSettings(), generator.context_window).prompt
    scanner = CitationScanner(prompt.passages)
    pieces = await answer(generator, prompt, max_tokens=1000)
    events = [event for piece in pieces for event in scanner.feed(piece)] + scanner.finish()
    return [event.citation for event in events if isinstance(event, Cited)]


async def first(question: str, *texts: str) -> tuple[int, str | None]:
    passages = [passage(number, text, "Leave") for number, text in enumerate(texts, start=1)]
    citation = (await quotations(words_only(), question, *passages))[0]
    return citation.number, citation.quote


class TestByWords(GeneratorContract):
    @pytest.fixture
    def generator(self) -> ExtractiveGenerator:
        return words_only()


class TestWithEmbeddings(GeneratorContract):
    @pytest.fixture
    def generator(self, embedder: LocalEmbedder) -> ExtractiveGenerator:
        return ExtractiveGenerator(GenerationSettings(), embedder)


@pytest.fixture(scope="module")
def embedder() -> Iterator[LocalEmbedder]:
    pull(origin_of("all-MiniLM-L6-v2"), cache_folder(None))
    embedder = LocalEmbedder.open("all-MiniLM-L6-v2")
    yield embedder
    asyncio.run(embedder.aclose())


async def test_the_answer_says_that_it_quotes_and_gives_each_quotation_a_line() -> None:
    generator = words_only()
    lines = "".join(await answer(generator, prompt_for(generator))).splitlines()
    assert lines[0] == OPENING
    assert lines[1] == "- “Parental leave is sixteen weeks.” [1]"
    assert all(line.startswith("- “") and line[-5:] in ("” [1]", "” [2]") for line in lines[1:])


@pytest.mark.parametrize(
    ("question", "number", "quote"),
    [
        ("How many weeks of parental pay are there?", 1, "Both parents have sixteen weeks at full pay."),
        ("When does sick leave need a note?", 2, "A doctor's note is needed from the fourth day of sick leave."),
        ("What is the notice period of team leads?", 3, "It is three months for team leads."),
        ("What is the password of the guests network?", 4, "guests | heron-42"),
    ],
)
async def test_the_best_statement_comes_first(question: str, number: int, quote: str) -> None:
    assert await first(question, LEAVE, SICK, NOTICE, WIFI) == (number, quote)


async def test_the_sentence_before_a_statement_says_what_it_is_about() -> None:
    text = "A locker costs two euros. The parking permit is blue. It costs ten euros."
    cited = await quotations(words_only(), "What does the parking permit cost?", passage(1, text))
    assert [citation.quote for citation in cited] == ["The parking permit is blue.", "It costs ten euros."]


async def test_of_equals_the_one_that_retrieval_put_first_is_quoted_first() -> None:
    assert await first("Where is the lift?", "The lift is in the north wing.", "The lift is in the south wing.") == (
        1,
        "The lift is in the north wing.",
    )
    texts = [
        "Stairs are everywhere. So are doors.",
        "The lift is in the south wing. Use it.",
        "A lift is in the annex.",
    ]
    assert await first("Where is the lift?", *texts) == (2, "The lift is in the south wing.")


async def test_what_is_far_below_the_best_is_left_out() -> None:
    text = "The lift key for visitors is at the front desk. The lift is old. Doors shut at six."
    cited = await quotations(words_only(), "Where is the lift key for visitors?", passage(1, text))
    assert [citation.quote for citation in cited] == ["The lift key for visitors is at the front desk."]


async def test_a_limit_leaves_out_quotations_not_parts_of_one() -> None:
    text = " ".join(f"Leave form {letter} is for parental leave of employees." for letter in "ABC")
    generator = words_only()
    prompt = prompt_for(generator, "Which form is for parental leave?", (text,))
    quoted = [len(await answer(generator, prompt, max_tokens)) - 1 for max_tokens in (1, 25, 40, 1000)]
    assert quoted == [1, 1, 2, 3]


async def test_what_only_repeats_the_question_is_not_quoted() -> None:
    text = "How long is paid parental leave? Parental leave.\n\nIt is sixteen weeks of leave."
    cited = await quotations(words_only(), "How long is the parental leave?", passage(1, text))
    assert [citation.quote for citation in cited] == ["It is sixteen weeks of leave."]


async def test_the_same_statement_is_quoted_once_from_the_better_passage() -> None:
    passages = (passage(1, LEAVE), passage(2, LEAVE.replace("full pay", "full\npay")))
    cited = await quotations(words_only(), "How many weeks at full pay do parents have?", *passages)
    assert [c.number for c in cited if c.quote and "sixteen" in c.quote] == [1]


async def test_no_more_is_quoted_than_is_set() -> None:
    text = " ".join(f"Leave form {letter} is for parental leave." for letter in "ABCDEFG")
    for sentences in (1, 2, 5):
        cited = await quotations(words_only(sentences), "Which form is for parental leave?", passage(1, text))
        assert len(cited) == sentences


@pytest.mark.parametrize("question", ["Who won the chess final?", "What does the canteen serve on Fridays?", "???", ""])
async def test_nothing_is_quoted_that_has_nothing_to_do_with_the_question(
    question: str, embedder: LocalEmbedder
) -> None:
    passages = [passage(number, text) for number, text in enumerate((LEAVE, SICK, NOTICE, WIFI), start=1)]
    for generator in (words_only(), ExtractiveGenerator(GenerationSettings(), embedder)):
        assert await quotations(generator, question, *passages) == []


async def test_meaning_finds_what_words_do_not(embedder: LocalEmbedder) -> None:
    text = "The cafeteria opens at noon. Salaries arrive on the 25th of each month. The lift is being repaired."
    question = "On what date do employees get their wages?"
    assert await quotations(words_only(), question, passage(1, text)) == []
    generator = ExtractiveGenerator(GenerationSettings(), embedder)
    cited = await quotations(generator, question + " Salary date of the month?", passage(1, text))
    assert cited[0].quote == "Salaries arrive on the 25th of each month."


PARTS = (
    *("Parental leave is sixteen weeks.", "“Sixteen” weeks`, he said.", "See [3] on leave.[12]", "휴가 weeks。"),
    *("\n- leave: 16 weeks\n", "\n| leave | weeks |\n", "`weeks", "\n```\nleave(16)\n```\n", "A line\nof weeks."),
)
TEXTS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map(" ".join)


@given(st.lists(TEXTS, min_size=1, max_size=4))
async def test_every_quotation_stands_word_for_word_in_the_source_it_cites(texts: list[str]) -> None:
    passages = [passage(number, text) for number, text in enumerate(texts, start=1)]
    generator = words_only()
    prompt = build("How many weeks is leave?", passages, generator.count, PromptSettings(), 1_000_000).prompt
    pieces = await answer(generator, prompt, max_tokens=1000)
    for line in pieces[1:]:
        quote, _, number = line.removeprefix("\n- “").rpartition("” [")
        assert quote in texts[int(number.removesuffix("]")) - 1]
