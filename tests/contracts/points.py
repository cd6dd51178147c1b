"""Documents for an index to hold, and what it says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import UUID, uuid4

import numpy as np
import numpy.typing as npt

from ragstone.index.base import Index
from ragstone.index.filters import Filter
from ragstone.models import Entry, Fields, Hit, Point, Replacement, Scope

SPACE_A, SPACE_B = (sha256(name).hexdigest() for name in (b"a", b"b"))
SPACES = {SPACE_A: 8, SPACE_B: 5}
"""Two vector spaces of different size."""

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Question:
    vector: tuple[int, ...] | None
    words: tuple[str, ...] | None
    limit: int
    where: Filter | None = None


def one_document(tenant: str, *texts: str, fields: Fields | None = None) -> Replacement:
    """A document in a generation of its own; vectors differ from text to text."""
    points = tuple(
        Point(
            chunk_id=uuid4(),
            text=text,
            vector=np.array([1, i, -i, 2, 0, 1, i % 3, 1], dtype=np.float32),
            hash=uuid4().bytes,
        )
        for i, text in enumerate(texts)
    )
    return Replacement(
        tenant=tenant, collection=uuid4(), generation=uuid4(), fingerprint=SPACE_A, dimensions=8,
        document_id=uuid4(), points=points, fields=fields or {},
    )  # fmt: skip


def again(document: Replacement, *, tenant: str | None = None, generation: UUID | None = None) -> Replacement:
    """The same document elsewhere: its chunks have ids of their own there."""
    points = tuple(replace(point, chunk_id=uuid4()) for point in document.points)
    return replace(
        document, points=points, tenant=tenant or document.tenant, generation=generation or document.generation
    )


def scope_of(replacement: Replacement) -> Scope:
    return Scope(tenant=replacement.tenant, generation=replacement.generation, fingerprint=replacement.fingerprint)


async def ask(index: Index, scope: Scope, question: Question) -> list[Hit]:
    vector = None if question.vector is None else as_vector(question.vector, SPACES[scope.fingerprint])
    text = None if question.words is None else " ".join(question.words)
    return await index.search(scope, vector=vector, text=text, limit=question.limit, where=question.where)


async def scanned(index: Index, scope: Scope) -> list[Entry]:
    return [entry async for batch in index.scan(scope) for entry in batch]


async def found(index: Index, scope: Scope, where: Filter) -> set[UUID]:
    """The chunks that a search within the filter finds, whatever its kind."""
    question = Question((1,) * 8, ("fox",), 1000, where)
    hits = await ask(index, scope, question)
    assert len(hits) == await index.count(scope, where)
    return {hit.chunk_id for hit in hits}


def scores(hits: Iterable[Hit]) -> dict[UUID, tuple[float, float]]:
    return {hit.chunk_id: (round(hit.cosine or 0, 5), round(hit.bm25 or 0, 5)) for hit in hits}


def as_vector(components: Sequence[int], dimensions: int) -> Vector:
    return np.array(components[:dimensions], dtype=np.float32)
