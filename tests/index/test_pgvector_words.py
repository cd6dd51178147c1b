"""BM25 leaves the postings of frequent words out where it can, and gives the scores that it would give with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import numpy as np
import pytest

from ragstone.index.exact import ExactIndex
from ragstone.index.filters import Filter, In, Not
from ragstone.index.pgvector import PgvectorIndex, questions
from ragstone.models import Hit, Point, Replacement, Scope

SCOPE = Scope(tenant="acme", generation=UUID(int=1), fingerprint="a" * 64)
FILTERS: tuple[Filter | None, ...] = (None, In("group", (1,)), Not(In("group", (1,))))


@pytest.fixture
async def index(database_url: str) -> AsyncIterator[PgvectorIndex]:
    opened = PgvectorIndex.open(database_url)
    yield opened
    await opened.aclose()


def documents(random: np.random.Generator) -> list[Replacement]:
    """Words of all frequencies: the n-th is in about one text of n."""
    return [
        Replacement(
            tenant=SCOPE.tenant, collection=UUID(int=2), generation=SCOPE.generation, fingerprint=SCOPE.fingerprint,
            dimensions=3, document_id=UUID(int=number),
            points=(Point(chunk_id=uuid4(), text=text(random), vector=random.standard_normal(3).astype("f4")),),
            fields={"group": (number % 20,)},
        )
        for number in range(400)
    ]  # fmt: skip


def text(random: np.random.Generator) -> str:
    words = [f"w{n}" for n in range(1, 200) if random.random() < 1 / n]
    return " ".join(words + [words[0]] * int(random.integers(0, 4))) if words else "nothing"


@pytest.mark.parametrize("frequent", [1, 50])
async def test_the_best_are_the_same_whatever_is_left_out(
    index: PgvectorIndex, monkeypatch: pytest.MonkeyPatch, frequent: int
) -> None:
    monkeypatch.setattr(questions, "FREQUENT", frequent)
    random, exact = np.random.default_rng(3), ExactIndex()
    made = documents(random)
    await index.apply(made, 1)
    await exact.apply(made, 1)
    for _ in range(8):
        asked = " ".join(f"w{n}" for n in {1, 2, *random.integers(3, 200, 3).tolist()})
        for where in FILTERS:
            limit = int(random.integers(1, 12))
            found = await index.search(SCOPE, vector=None, text=asked, limit=limit, where=where)
            wanted = await exact.search(SCOPE, vector=None, text=asked, limit=limit, where=where)
            assert ranked(found) == pytest.approx(ranked(wanted), abs=1e-4)
            vector = random.standard_normal(3).astype("f4")
            both = await index.search(SCOPE, vector=vector, text=asked, limit=limit, where=where)
            truth = {hit.chunk_id: hit.bm25 for hit in await exact.search(SCOPE, vector=None, text=asked, limit=400)}
            assert all(hit.bm25 == pytest.approx(truth.get(hit.chunk_id, 0.0), abs=1e-4) for hit in both)


def ranked(hits: list[Hit]) -> list[float]:
    return sorted((hit.bm25 or 0 for hit in hits), reverse=True)
