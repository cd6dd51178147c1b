"""Rows of the catalog as records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ragstone.models import Collection, DocumentState, Failure, Fingerprint, Generation, Observation, StoredChunk

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """A source as the catalog remembers it."""

    name: str
    prefix: str  # starts the URI of all that came from it
    last_synced_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStats:
    """What one generation holds now."""

    generation: UUID
    documents: int
    chunks: int
    last_indexed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStats:
    """What a collection holds now, in all its generations together and in each."""

    documents: int
    chunks: int
    vectors: int  # stored for its tenant under its fingerprints, those that no chunk uses any more included
    head: int  # the position of its last change
    last_indexed_at: datetime | None
    generations: tuple[GenerationStats, ...]


def collection(row: Row) -> Collection:
    key, tenant, name, serving, previous = row
    return Collection(id=key, tenant=tenant, name=name, serving=serving, previous=previous)


def generation(row: Row) -> Generation:
    key, tenant, collection, settings, embedding, tuning, created, served, checked, quarantine, *space = row
    digest, dimensions, spec = space
    fingerprint = Fingerprint(digest=digest, dimensions=dimensions, spec=spec)
    return Generation(
        id=key,
        tenant=tenant,
        collection=collection,
        fingerprint=fingerprint,
        settings=settings,
        embedding=embedding,
        tuning=tuning,
        created_at=created,
        served_at=served,
        checked_at=checked,
        quarantine=quarantine,
    )


def source(row: Row) -> SourceRecord:
    name, prefix, last_synced_at = row
    return SourceRecord(name=name, prefix=prefix, last_synced_at=last_synced_at)


def state(row: Row) -> DocumentState:
    key, uri, source, revision, content_hash, last_indexed_at = row
    return DocumentState(
        id=key,
        uri=uri,
        source=source,
        revision=revision,
        content_hash=content_hash,
        last_indexed_at=last_indexed_at,
    )


def observation(rows: Sequence[Row]) -> Observation:
    """From one row a generation; there is at least one."""
    return Observation(
        seen=rows[0][0],
        states={row[1]: None if row[6] is None else state(row[3:]) for row in rows},
        quarantined=frozenset(row[1] for row in rows if row[2] is not None),
    )


def failure(row: Row) -> Failure:
    uri, source, revision, settings, code, reason, hint, attempts, failed_at, dropped = row
    return Failure(
        uri=uri,
        source=source,
        revision=revision,
        settings=settings,
        code=code,
        reason=reason,
        hint=hint,
        attempts=attempts,
        failed_at=failed_at,
        dropped=dropped,
    )


def chunk(row: Row) -> StoredChunk:
    key, document, version, uri, title, path, ordinal, start, end, text, *places, modified_at = row
    first_page, last_page, parent_start, parent_end = places
    return StoredChunk(
        id=key,
        document_id=document,
        version_id=version,
        uri=uri,
        title=title,
        path=tuple(path),
        ordinal=ordinal,
        start=start,
        end=end,
        text=text,
        pages=None if first_page is None else (first_page, last_page),
        parent=None if parent_start is None else (parent_start, parent_end),
        modified_at=modified_at,
    )


def vector(stored: bytes) -> npt.NDArray[np.float32]:
    """A vector from its bytes; it cannot be written to."""
    return np.frombuffer(stored, dtype="<f4")


def collection_stats(totals: Row, rows: Sequence[Row]) -> CollectionStats:
    generations = tuple(
        GenerationStats(generation=key, documents=documents, chunks=chunks, last_indexed_at=at)
        for key, documents, chunks, at in rows
    )
    documents, vectors, head = totals
    return CollectionStats(
        documents=documents,
        chunks=sum(g.chunks for g in generations),
        vectors=vectors,
        head=head,
        last_indexed_at=max((g.last_indexed_at for g in generations if g.last_indexed_at), default=None),
        generations=generations,
    )
