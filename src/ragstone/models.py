"""The records that rooms hand to each other: frozen, keyword-only, without behaviour beyond their own shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID, uuid5

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.NDArray[np.float32]
"""A matrix [n, dimensions] of float32; one row is one text's vector."""

BlockKind = Literal["heading", "paragraph", "list", "code", "table"]
Metadata: TypeAlias = Mapping[str, Any]
"""JSON-compatible values by name."""

Scalar: TypeAlias = str | int | float | bool
Fields: TypeAlias = Mapping[str, tuple[Scalar, ...]]
"""What a document can be filtered by: the values of each field; a field without a value is left out."""

NAMESPACE = UUID("7a0c4c1e-5d0b-4f5e-9d3e-8f0a6c2b1d47")


def document_id(tenant: str, collection: str, uri: str) -> UUID:
    """The id of the document at a URI: the same in every rebuild of the catalog."""
    return uuid5(NAMESPACE, "\0".join((tenant, collection, uri)))


def collection_id(tenant: str, name: str) -> UUID:
    """The id of a tenant's collection: the same in every rebuild of the catalog."""
    return uuid5(NAMESPACE, f"{tenant}\0{name}")


# --- what a source yields ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing a source lists: enough to know whether it changed, without its bytes.

    `revision` is compared for equality and never parsed (for a file: its size and modification time). None: only
    fetching it tells.
    """

    uri: str
    revision: str | None
    name: str  # what a person calls it; a file name carries the hint of its kind
    modified_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The bytes of an item, with the revision that they are of: it may be newer than the listed one."""

    data: bytes
    revision: str
    charset: str | None = None  # of text, where the source knows it
    modified_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Something that was not indexed, and why."""

    uri: str
    code: str  # the error's stable code, such as "encrypted"
    reason: str
    hint: str = ""


# --- what parsing makes of it -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A piece of text that should stay whole: `text[start:end]` of its document. Blocks are ordered and disjoint."""

    kind: BlockKind
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A titled part of a document: `text[start:end]`, subsections included.

    Sections are listed in document order. `path` holds the headings from the top down to this section's own; the
    text before the first heading is a section of level 0 with an empty path.
    """

    ordinal: int
    parent: int | None
    level: int
    path: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed document: its exact text, and where in it sections, blocks and pages lie (offsets in characters)."""

    title: str
    media_type: str
    text: str
    sections: tuple[Section, ...]
    blocks: tuple[Block, ...]
    page_starts: tuple[int, ...] = ()  # the offset at which each page begins; empty when there are no pages
    metadata: Metadata = field(default_factory=dict)


# --- what chunking makes of that --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What is embedded: `text` is exactly `document.text[start:end]`; `prefix` (title, headings) precedes it."""

    ordinal: int
    section: int  # the ordinal of the innermost section that holds `start`
    start: int
    end: int
    text: str
    prefix: str
    tokens: int  # of prefix + text, without the model's special tokens
    pages: tuple[int, int] | None = None  # first and last page, counted from 1
    parent: tuple[int, int] | None = None  # offsets of what a prompt gets in its place: its section, or a window

    @property
    def embedded(self) -> str:
        """The text that the embedding model sees."""
        return self.prefix + self.text


# --- what the catalog keeps -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Everything that shaped a vector (house, idea 4). Two settings with one `digest` may share vectors."""

    digest: str  # SHA-256 over all of `spec`, hexadecimal
    dimensions: int
    spec: Metadata  # provider, model, revision, weights hash, pooling, normalisation, prefixes, precision …


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A named corpus of one tenant."""

    id: UUID
    tenant: str
    name: str
    serving: UUID | None  # the generation that answers questions
    previous: UUID | None = None  # the one that did before: where a rollback goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One (parser, chunking, embedding fingerprint) setting of a collection, and all that was built with it."""

    id: UUID
    tenant: str
    collection: UUID
    fingerprint: Fingerprint
    settings: Metadata  # the parser's version and the chunking settings
    embedding: Metadata  # the settings that its embedder is made from, without keys
    created_at: datetime
    served_at: datetime | None = None  # when it last began to serve
    checked_at: datetime | None = None  # when its model was last compared with the stored probes
    quarantine: str | None = None  # why nothing may be written to it
    tuning: Metadata = field(default_factory=dict)  # what `ragstone tune` found, by engine: {"edge": {"ef": 96, …}}


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentState:
    """What the catalog knows of a document in one generation, for telling what changed."""

    id: UUID
    uri: str
    source: str  # the one that listed it last
    revision: str
    content_hash: bytes
    last_indexed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look at a document in the catalog, just before its source is looked at.

    `seen` puts the event that comes of it in order: the catalog takes no event older than the last one it took.
    """

    seen: int
    states: Mapping[UUID, DocumentState | None]  # by generation: each that is kept up to date, quarantined or not
    quarantined: frozenset[UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A document that could not be indexed, and why."""

    uri: str
    source: str
    revision: str | None
    settings: str  # digest of the settings that it failed under
    code: str
    reason: str
    hint: str = ""
    attempts: int = 1
    failed_at: datetime | None = None
    dropped: bool = False  # seen and accepted by an operator: not tried again before it changes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A document version ready to be published. `vectors` is aligned with `chunks`."""

    uri: str
    source: str
    revision: str
    content_hash: bytes  # SHA-256 of the fetched bytes
    document: Document
    chunks: Sequence[Chunk]
    vectors: Vectors
    modified_at: datetime | None = None
    seen: int | None = None  # the observation it came of; None: the moment it is published


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChunk:
    """A chunk as the catalog gives it back, with what a reader needs to know where it stands."""

    id: UUID
    document_id: UUID
    version_id: UUID
    uri: str
    title: str
    path: tuple[str, ...]
    ordinal: int
    start: int
    end: int
    text: str
    pages: tuple[int, int] | None
    parent: tuple[int, int] | None
    modified_at: datetime | None


# --- what the index holds and answers ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One chunk as an index stores it. `text` (prefix and text) is indexed for BM25 and need not be kept.

    `hash` (16 bytes, from the catalog) is of all that the index is given of the chunk: an audit compares it.
    """

    chunk_id: UUID
    text: str
    vector: npt.NDArray[np.float32]
    hash: bytes = bytes(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """From now on exactly these points stand for this document in this generation; none means it is gone."""

    tenant: str
    collection: UUID
    generation: UUID
    fingerprint: str  # digest: which vector space the points live in
    dimensions: int
    document_id: UUID
    points: tuple[Point, ...]
    fields: Fields = field(default_factory=dict)  # of the document, and so of each of its points


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a search may see: it is part of the search itself, never a filter on its results."""

    tenant: str
    generation: UUID
    fingerprint: str


def scope_of(generation: Generation) -> Scope:
    """What searches of a generation may see."""
    return Scope(tenant=generation.tenant, generation=generation.id, fingerprint=generation.fingerprint.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that a search found, with each score that was asked for."""

    chunk_id: UUID
    cosine: float | None
    bm25: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A point as an audit sees it."""

    chunk_id: UUID
    document_id: UUID
    hash: bytes


# --- what answering works on ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A chunk on its way through retrieval, with its text and every score it was given so far."""

    chunk: StoredChunk
    cosine: float | None
    bm25: float | None
    fused: float
    parent: str | None = None  # the text at `chunk.parent`, once it was read: it is shown in the chunk's place

    @property
    def shown(self) -> tuple[int, int, str]:
        """Start, end and text of what is shown of the document."""
        if self.parent is not None and self.chunk.parent is not None:
            return *self.chunk.parent, self.parent
        return self.chunk.start, self.chunk.end, self.chunk.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What is put into the prompt: a chunk or its parent, or joined neighbours of one document, numbered from 1."""

    number: int
    document_id: UUID
    version_id: UUID
    chunk_ids: tuple[UUID, ...]
    uri: str
    title: str
    path: tuple[str, ...]
    pages: tuple[int, int] | None
    start: int
    end: int
    text: str
    modified_at: datetime | None
    cosine: float | None  # the best of its chunks
    bm25: float | None
    score: float  # fused
    core: tuple[int, int] | None = None  # offsets of its chunks, where more than these is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """All that a generator may use: the messages for a chat model, and the parts they were made of."""

    question: str
    passages: tuple[Passage, ...]
    messages: tuple[Message, ...]
    tokens: int  # of all messages, by the generator's own counter


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """`[number]` in an answer: the passage it names, and the quoted span of the document where one is known."""

    number: int
    passage: Passage
    quote: str | None = None
