"""Every index finds what the exact one does, after a history of some thousand points.

An engine's test file subclasses CongruenceContract and gives the fixture `index`, as for IndexContract; `settled`
waits until its graphs are built, where that takes a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import ClassVar
from uuid import UUID, uuid4

import numpy as np
import numpy.typing as npt

from ragstone.index.base import Index
from ragstone.index.exact import ExactIndex
from ragstone.index.filters import And, Exists, Filter, In, Not, Or, Range
from ragstone.index.terms import moment
from ragstone.models import Entry, Fields, Hit, Point, Replacement, Scope

DIMENSIONS = 16
FINGERPRINT = sha256(b"congruence").hexdigest()
BATCH = 100  # documents applied at a time
K = 10
CLOSE = 2e-3  # of a cosine, that a vector stored in half precision keeps to
ALL = 1_000_000

MAY = moment("2024-05-01") or 0.0
FILTERS: dict[str, Filter | None] = {
    "none": None,
    "half": In("source", ("wiki", "mail")),
    "most": Not(In("tags", ("rare",))),
    "few": Range("sample", lt=0.01),
    "dates": And((Exists("reviewed"), Range("modified_at", dates=True, gte=MAY, lt=MAY + 30 * 86400))),
    "nested": Or((And((In("tags", ("python", "go")), Range("year", gte=2020, lte=2022))), Not(Exists("tags")))),
    "nothing": And((Exists("tags"), Not(Exists("tags")))),
}


class CongruenceContract:
    points: ClassVar[int] = 3000  # an engine that takes minutes for so many may be given fewer
    questions: ClassVar[int] = 20  # within each filter

    async def settled(self, index: Index) -> None:
        """Returns once the graphs are built."""

    async def test_it_finds_what_the_exact_index_finds(self, index: Index) -> None:
        world = World(np.random.default_rng(4), self.points)
        exact, position = ExactIndex(), await index.position()
        for batch in world.history():
            position += len(batch)
            await asyncio.gather(index.apply(batch, position), exact.apply(batch, position))
        await self.settled(index)
        for scope in world.scopes:
            assert [entry for batch in await batches(index, scope) for entry in batch] == [
                entry for batch in await batches(exact, scope) for entry in batch
            ]
        assert len(await batches(index, world.scopes[0])) > 1
        for name, where in FILTERS.items():
            for scope in world.scopes:
                assert await index.count(scope, where) == await exact.count(scope, where), name
            await compare(index, exact, world, name, self.questions)
        await index.drop(world.scopes[1])
        await compare(index, exact, world, "none", self.questions)


async def compare(index: Index, exact: ExactIndex, world: World, name: str, asked: int) -> None:
    """Asks both the same questions within one of the filters."""
    scope, where = world.scopes[0], FILTERS[name]
    questions = [world.question() for _ in range(asked)]
    wanted = [await exact.search(scope, vector=v, text=t, limit=ALL, where=where) for v, t in questions]
    found: list[int] = []
    for (vector, text), truth in zip(questions, wanted, strict=True):
        near, same, words, both = await asyncio.gather(
            index.search(scope, vector=vector, text=None, limit=K, where=where),
            index.search(scope, vector=vector, text=None, limit=K, where=where, exact=True),
            index.search(scope, vector=None, text=text, limit=K, where=where),
            index.search(scope, vector=vector, text=text, limit=K, where=where),
        )
        answers = Truth(truth)
        found += [answers.among_nearest(near), answers.among_nearest(_highest(both, lambda hit: hit.cosine))]
        assert answers.among_nearest(same) == answers.nearest, name
        assert answers.are_best_by_words(words), name
        assert answers.are_best_by_words(_highest(both, lambda hit: hit.bm25)), name
        assert all(answers.scored(hits) for hits in (near, same, words, both)), name
    assert sum(found) >= 0.95 * 2 * sum(Truth(truth).nearest for truth in wanted), f"recall within {name}"


def _highest(hits: Sequence[Hit], score: Callable[[Hit], float | None]) -> list[Hit]:
    return sorted((hit for hit in hits if score(hit)), key=lambda hit: score(hit) or 0, reverse=True)[:K]


async def batches(index: Index, scope: Scope) -> list[Sequence[Entry]]:
    return [batch async for batch in index.scan(scope)]


class Truth:
    """Every score of a question, and what of them is among the best. Ties may be broken either way."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._hits = {hit.chunk_id: hit for hit in hits}
        self._cosines = sorted((hit.cosine or 0 for hit in hits), reverse=True)[:K]
        self._words = sorted((hit.bm25 for hit in hits if hit.bm25), reverse=True)[:K]

    @property
    def nearest(self) -> int:
        return len(self._cosines)

    def among_nearest(self, hits: Sequence[Hit]) -> int:
        """How many of these are among the nearest."""
        assert len({hit.chunk_id for hit in hits}) == len(hits) <= K
        return sum((self._hits[hit.chunk_id].cosine or 0) >= self._cosines[-1] - CLOSE for hit in hits)

    def are_best_by_words(self, hits: Sequence[Hit]) -> bool:
        scores = sorted((hit.bm25 or 0 for hit in hits), reverse=True)
        return len(scores) == len(self._words) and np.allclose(scores, self._words, rtol=0, atol=1e-4)

    def scored(self, hits: Sequence[Hit]) -> bool:
        """Whether each has the scores that the exact index gives it."""
        return all(
            (hit.cosine is None or abs(hit.cosine - (self._hits[hit.chunk_id].cosine or 0)) < CLOSE)
            and (hit.bm25 is None or abs(hit.bm25 - (self._hits[hit.chunk_id].bm25 or 0)) < 1e-4)
            for hit in hits
        )


class World:
    """Documents of two tenants in one space: vectors in clusters, words by Zipf's law."""

    def __init__(self, random: np.random.Generator, points: int) -> None:
        self._random = random
        self._points = points
        self._centres = random.standard_normal((40, DIMENSIONS))
        self._generation = uuid4()
        self.scopes = [
            Scope(tenant=tenant, generation=self._generation, fingerprint=FINGERPRINT) for tenant in ("large", "small")
        ]

    def history(self) -> Iterator[list[Replacement]]:
        """Documents are added; then some are replaced, some described anew and some deleted."""
        documents = [self.document("large", size) for size in self._sizes(self._points)]
        documents += [self.document("small", size) for size in self._sizes(self._points // 10)]
        for start in range(0, len(documents), BATCH):
            yield documents[start : start + BATCH]
        chosen = self._random.permutation(len(documents))[: 3 * min(BATCH, len(documents) // 5)]
        replaced, described, deleted = ([documents[i] for i in part] for part in np.split(chosen, 3))
        yield [replace(each, points=self.document("", len(each.points)).points) for each in replaced]
        yield [replace(each, fields=self._fields()) for each in described] + [
            replace(each, points=(), fields={}) for each in deleted[: BATCH // 2]
        ]

    def question(self) -> tuple[npt.NDArray[np.float32], str]:
        return self._vector(), self._text(3)

    def _sizes(self, points: int) -> Iterator[int]:
        """Most documents are small, one is large."""
        yield (size := points // 8)
        while size < points:
            here = int(self._random.integers(1, 10))
            size += here
            yield here

    def document(self, tenant: str, size: int) -> Replacement:
        points = (
            Point(chunk_id=uuid4(), text=self._text(30), vector=self._vector(), hash=self._random.bytes(16))
            for _ in range(size)
        )
        return Replacement(
            tenant=tenant, collection=UUID(int=1), generation=self._generation, fingerprint=FINGERPRINT,
            dimensions=DIMENSIONS, document_id=uuid4(), points=tuple(points), fields=self._fields(),
        )  # fmt: skip

    def _fields(self) -> Fields:
        random = self._random
        fields: dict[str, tuple[str | float | int | bool, ...]] = {
            "source": (str(random.choice(["wiki", "mail", "docs", "web"])),),
            "year": (int(random.integers(2015, 2026)),),
            "modified_at": (f"2024-{random.integers(1, 13):02}-{random.integers(1, 29):02}T08:30:00+00:00",),
            "sample": (float(random.random()),),
        }
        if tags := [str(tag) for tag in ("python", "go", "rare") if random.random() < 0.3]:
            fields["tags"] = tuple(tags)
        if random.random() < 0.5:
            fields["reviewed"] = (bool(random.random() < 0.5),)
        return fields

    def _vector(self) -> npt.NDArray[np.float32]:
        spread = 0.5 * self._random.standard_normal(DIMENSIONS)
        near: npt.NDArray[np.float64] = self._random.choice(self._centres) + spread
        return near.astype(np.float32)

    def _text(self, longest: int) -> str:
        """Words are of one letter and a number: their own stems."""
        return " ".join(
            f"w{min(number, 500)}" for number in self._random.zipf(1.4, self._random.integers(1, longest + 1))
        )
