"""Candidates for tests: chunks of real positions in a text."""

from __future__ import annotations

from uuid import UUID

from ragstone.models import Candidate, StoredChunk


def candidate(
    text: str,
    *,
    n: int,
    ordinal: int | None = None,
    start: int = 0,
    version: int = 1,
    fused: float = 0.5,
    cosine: float | None = 0.5,
    path: tuple[str, ...] = ("Guide",),
    pages: tuple[int, int] | None = None,
    parent: tuple[int, int] | None = None,
) -> Candidate:
    chunk = StoredChunk(
        id=UUID(int=n),
        document_id=UUID(int=1000 + version),
        version_id=UUID(int=2000 + version),
        uri=f"file:///docs/{version}.md",
        title="Guide",
        path=path,
        ordinal=n if ordinal is None else ordinal,
        start=start,
        end=start + len(text),
        text=text,
        pages=pages,
        parent=parent,
        modified_at=None,
    )
    return Candidate(chunk=chunk, cosine=cosine, bm25=1.0, fused=fused)
