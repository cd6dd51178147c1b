"""Parents: what is shown of a document for a chunk that was found, where chunks have parents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from ragstone.models import Candidate, Scope
from ragstone.telemetry import Stage


class TextReader(Protocol):
    """The catalog, as this stage sees it."""

    async def texts(self, generation_id: UUID, tenant: str, spans: Sequence[tuple[UUID, int, int]]) -> list[str | None]:
        """The text of each (version, start, end); None where the version is not current any more."""
        ...


async def widened(candidates: Sequence[Candidate], reader: TextReader, scope: Scope, stage: Stage) -> list[Candidate]:
    """The candidates with the texts of their parents, each read once; those without a parent stay as they are."""
    spans = {c.chunk.id: (c.chunk.version_id, *c.chunk.parent) for c in candidates if c.chunk.parent}
    wanted = list(dict.fromkeys(spans.values()))
    read = await reader.texts(scope.generation, scope.tenant, wanted) if wanted else []
    texts = dict(zip(wanted, read, strict=True))
    kept = []
    for candidate in candidates:
        span = spans.get(candidate.chunk.id)
        if span is None:
            kept.append(candidate)
        elif (text := texts[span]) is not None:
            kept.append(replace(candidate, parent=text))
        else:
            stage.drop(candidate.chunk.id, "deleted or superseded since its chunk was read")
    if spans:
        stage.note = f"{len(spans)} chunks in {len(wanted)} parents"
    return kept
