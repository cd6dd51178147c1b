from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from contracts.chunker import ChunkerContract, words
from ragstone.chunking.base import Chunker
from ragstone.chunking.semantic import Semantic, drops
from ragstone.embedding.files import cache_folder, pull
from ragstone.embedding.local import LocalEmbedder
from ragstone.embedding.model_list import local_model
from ragstone.models import Chunk, Vectors
from ragstone.parsing.parse import parse
from ragstone.tokens import TokenCounter


def letters(texts: Sequence[str]) -> Vectors:
    """Vectors of how often each letter comes: like texts have like ones."""
    rows: Vectors = np.array([np.bincount([ord(c) % 64 for c in text], minlength=64) for text in texts], np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


class TestSemantic(ChunkerContract):
    @staticmethod
    def make(count: TokenCounter, max_tokens: int, overlap: float, prefix: bool) -> Chunker:
        def embed(texts: Sequence[str]) -> Vectors:
            assert all(text.strip() and (count(text) <= max_tokens or len(text) == 1) for text in texts)
            return letters(texts)

        return Semantic(count, max_tokens, overlap, prefix, 90, embed)


TOPICS = [" ".join(f"{letter * 4} {letter * 3}." for _ in range(8)) for letter in "abcd"]


def chunk(text: str, limit: int, overlap: float = 0.0, *, percentile: float = 90, name: str = "a.txt") -> list[Chunk]:
    chunker = Semantic(words, limit, overlap, prefix=False, percentile=percentile, embed=letters)
    return chunker.chunk(parse(text.encode(), name))


def test_the_cuts_are_where_the_subject_changes() -> None:
    assert [c.text for c in chunk(" ".join(TOPICS), 40)] == TOPICS


def test_a_stretch_too_large_for_a_chunk_is_cut_at_its_widest_gap() -> None:
    assert [c.text for c in chunk(" ".join(TOPICS), 20, percentile=100)] == TOPICS


def test_the_percentile_says_how_many_cuts_there_are() -> None:
    assert len(chunk(" ".join(TOPICS), 100, percentile=100)) == 1
    assert len(chunk(" ".join(TOPICS), 100, percentile=90)) > 1


def test_sentences_all_alike_are_not_cut_but_by_the_limit() -> None:
    assert [len(c.text.split()) for c in chunk(TOPICS[0], 16)] == [16]


def test_whole_sentences_are_repeated_over_a_cut() -> None:
    repeated = [f"{letter * 4} {letter * 3}. " * 2 for letter in "abc"]
    assert [c.text for c in chunk(" ".join(TOPICS), 40, 0.1)] == [
        a + b for a, b in zip(["", *repeated], TOPICS, strict=True)
    ]


def test_a_heading_is_not_parted_from_its_text() -> None:
    text = "aaa aaa. " * 12 + "\n\n# aaaaaa\n\n" + "bbb bbb. " * 12
    [found] = [c.text for c in chunk(text, 60, name="a.md") if "#" in c.text]
    assert "# aaaaaa\n\nbbb" in found


def test_the_sentences_of_a_document_are_embedded_in_one_call() -> None:
    calls: list[Sequence[str]] = []

    def embed(texts: Sequence[str]) -> Vectors:
        calls.append(texts)
        return letters(texts)

    Semantic(words, 20, 0.1, True, 90, embed).chunk(parse(" ".join(TOPICS).encode(), "a.txt"))
    assert [len(texts) for texts in calls] == [32]
    Semantic(words, 20, 0.1, True, 90, embed).chunk(parse(b"One sentence.", "a.txt"))
    assert len(calls) == 1


def test_what_the_embedder_raises_is_raised() -> None:
    def embed(texts: Sequence[str]) -> Vectors:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        Semantic(words, 20, 0, True, 90, embed).chunk(parse(b"One. Two.", "a.txt"))


def test_a_gap_is_the_distance_of_the_mean_vectors_of_three_sentences_on_either_side() -> None:
    vectors = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
    found = drops(vectors)
    for gap in range(1, 9):
        before, after = vectors[max(0, gap - 3) : gap].mean(axis=0), vectors[gap : gap + 3].mean(axis=0)
        cosine = before @ after / np.linalg.norm(before) / np.linalg.norm(after)
        assert found[gap - 1] == pytest.approx(1 - cosine, abs=1e-5)
    assert (drops(np.repeat(vectors[:1], 7, axis=0)) == 0).all()


KETTLE = (
    "The kettle boils water for tea. Its heating element gathers limescale. Vinegar dissolves the limescale. "
    "Rinse the kettle well before you boil water again. A clean kettle makes better tea."
)
VOLCANO = (
    "Volcanoes form where magma rises through the crust. An eruption throws ash into the air. Lava flows down the "
    "slopes of the volcano. Old craters fill with rain and become lakes. Volcanic soil is rich in minerals."
)
FOOTBALL = (
    "The striker scored in the last minute of the match. The goalkeeper had no chance. The fans sang until midnight. "
    "The coach praised the whole team. Their next match is against the champions."
)


async def test_a_real_model_tells_subjects_apart() -> None:
    listed = local_model("all-MiniLM-L6-v2")
    assert listed is not None
    pull(listed.files_from, cache_folder(None))
    embedder, loop = LocalEmbedder.open(listed.name), asyncio.get_running_loop()

    def embed(texts: Sequence[str]) -> Vectors:
        return asyncio.run_coroutine_threadsafe(embedder.embed(texts, "live"), loop).result()

    chunker = Semantic(embedder.count, 100, 0, True, 80, embed)
    document = parse(" ".join([KETTLE, VOLCANO, FOOTBALL]).encode(), "a.txt")
    chunks = await asyncio.to_thread(chunker.chunk, document)
    await embedder.aclose()
    assert [chunk.text for chunk in chunks] == [KETTLE, VOLCANO, FOOTBALL]
