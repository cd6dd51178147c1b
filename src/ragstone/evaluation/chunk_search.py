"""Which chunks of one corpus are found for its questions, best first: exact, in memory, without catalog or index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

import numpy as np

from ragstone.index.exact import ExactIndex
from ragstone.models import Chunk, Point, Replacement, Scope, Vectors
from ragstone.retrieval.fusion import fuse
from ragstone.settings import RetrievalSettings

Ranking: TypeAlias = Sequence[int]
"""Places of chunks in their corpus."""

_NOBODY = UUID(int=0)


def nearest(chunks: Vectors, questions: Vectors) -> list[Ranking]:
    """All chunks by cosine, for each question; the vectors are of unit length."""
    order = np.argsort(-(questions @ chunks.T), axis=1, kind="stable")
    return [row.tolist() for row in order]


async def fused(
    chunks: Sequence[Chunk], vectors: Vectors, texts: Sequence[str], questions: Vectors, settings: RetrievalSettings
) -> list[Ranking]:
    """What the product's hybrid search finds for each question before any threshold: the candidates of both kinds."""
    scope = Scope(tenant="", generation=_NOBODY, fingerprint="")
    index = ExactIndex()
    await index.apply([_contents(scope, chunks, vectors)], 1)
    return [
        [
            found.hit.chunk_id.int
            for found in fuse(
                await index.search(scope, vector=question, text=text, limit=settings.candidates), settings
            )
        ]
        for text, question in zip(texts, questions, strict=True)
    ]


def _contents(scope: Scope, chunks: Sequence[Chunk], vectors: Vectors) -> Replacement:
    """The corpus as one document, whose chunks have their places for ids."""
    return Replacement(
        tenant=scope.tenant,
        collection=_NOBODY,
        generation=scope.generation,
        fingerprint=scope.fingerprint,
        dimensions=vectors.shape[1],
        document_id=_NOBODY,
        points=tuple(
            Point(chunk_id=UUID(int=place), text=chunk.embedded, vector=vector)
            for place, (chunk, vector) in enumerate(zip(chunks, vectors, strict=True))
        ),
    )
