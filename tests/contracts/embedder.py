"""What every embedder keeps to."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragstone.embedding.base import Embedder
from ragstone.errors import ProviderError, RagstoneError, TextsRefused

WORDS = (
    "river",
    "stone",
    "Parental leave is sixteen weeks.",
    "def f(x): return x",
    "müßig",
    "日本語",
    "x86-64",
    "12,000",
    "?",
)
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)

# Examples share an embedder, and each subclass runs the same tests.
SHARED = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
)


class EmbedderContract:
    """Subclasses give the `embedder` fixture, and say how alike a text's vectors are in any two calls."""

    rounding: ClassVar[float] = 0.0
    refusal: ClassVar[type[RagstoneError]] = TextsRefused

    async def test_no_texts_give_no_rows(self, embedder: Embedder) -> None:
        for lane in ("query", "live", "backfill"):
            vectors = await embedder.embed([], lane)
            assert vectors.shape == (0, embedder.fingerprint.dimensions)
            assert vectors.dtype == np.float32

    async def test_rows_are_unit_length_and_in_order(self, embedder: Embedder) -> None:
        texts = [
            "a cat sat on the mat",
            "stock prices fell",
            "a cat sat on the mat",
            "Die Katze saß auf der Matte. " * 3,
        ]
        vectors = await embedder.embed(texts, "live")
        assert vectors.shape == (4, embedder.fingerprint.dimensions)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        turned = await embedder.embed(texts[::-1], "live")
        np.testing.assert_allclose(turned[::-1], vectors, atol=self.rounding)
        assert vectors[0] @ vectors[1] < 0.999 < vectors[0] @ vectors[2]

    @settings(parent=SHARED, max_examples=6)
    @given(text=TEXTS, others=st.lists(TEXTS, max_size=3), place=st.integers(0, 3))
    async def test_a_vector_depends_on_its_text_alone(
        self, embedder: Embedder, text: str, others: list[str], place: int
    ) -> None:
        alone = await embedder.embed([text], "live")
        among = await embedder.embed([*others[:place], text, *others[place:]], "live")
        np.testing.assert_allclose(among[min(place, len(others))], alone[0], atol=self.rounding, rtol=0)

    async def test_calls_may_run_side_by_side(self, embedder: Embedder) -> None:
        texts = [f"passage number {number}" for number in range(6)]
        expected = await embedder.embed(texts, "live")
        rows = await asyncio.gather(*(embedder.embed([text], "live") for text in texts))
        np.testing.assert_allclose(np.concatenate(rows), expected, atol=self.rounding)

    async def test_a_text_of_just_the_limit_is_taken_and_a_longer_one_is_refused(self, embedder: Embedder) -> None:
        longest = "water"
        while embedder.count(longest + " water") <= embedder.max_tokens:
            longest += " water"
        assert len(await embedder.embed([longest], "live")) == 1
        with pytest.raises(self.refusal, match="water water"):
            await embedder.embed(["fine", longest + " water" * 5], "live")

    async def test_a_long_question_is_cut_and_says_so(
        self, embedder: Embedder, caplog: pytest.LogCaptureFixture
    ) -> None:
        vectors = await embedder.embed(["how deep is the water? " * embedder.max_tokens], "query")
        assert "was cut" in caplog.text
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)

    @given(text=st.text(max_size=60), more=TEXTS)
    @settings(parent=SHARED)
    async def test_counts(self, embedder: Embedder, text: str, more: str) -> None:
        assert embedder.count("") == 0
        assert embedder.count(text) >= 0
        assert 0 < embedder.count(more) <= embedder.count(f"{more} {more}")

    async def test_half_a_surrogate_pair_is_refused(self, embedder: Embedder) -> None:
        with pytest.raises(self.refusal, match="surrogate"):
            await embedder.embed(["broken \ud83d text"], "live")
        with pytest.raises(ProviderError, match="surrogate"):
            embedder.count("broken \ud83d text")

    def test_the_fingerprint_is_stable(self, embedder: Embedder) -> None:
        assert embedder.fingerprint == embedder.fingerprint
        assert len(embedder.fingerprint.digest) == 64
        assert embedder.fingerprint.spec["dimensions"] == embedder.fingerprint.dimensions
