"""The flow of a document: observe → look → fetch → parse → chunk → embed → publish, in every living generation."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ragstone.catalog.catalog import Catalog
from ragstone.catalog.queue import Lane
from ragstone.chunking.base import Chunker
from ragstone.embedding.base import Embedder
from ragstone.errors import (
    BrokenDocument,
    DocumentGone,
    EmptyDocument,
    GenerationDropped,
    RagstoneError,
    UnreadableDocument,
)
from ragstone.models import (
    Chunk,
    Collection,
    Document,
    DocumentState,
    Fetched,
    Generation,
    Item,
    NewVersion,
    Observation,
    Skip,
    Vectors,
)
from ragstone.sources.base import Source

PORTION = 256
"""Texts of one document that are embedded in one call; all but the last portion are saved at once."""

LONGEST_URI = 2000  # bytes

logger = logging.getLogger(__name__)

Fate = Literal["published", "touched", "unchanged", "deleted"]


class Parser(Protocol):
    """Makes documents of bytes. Raises DocumentError."""

    async def parse(self, data: bytes, name: str, charset: str | None = None) -> Document: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A generation with the means to write to it."""

    generation: Generation
    embedder: Embedder
    chunker: Chunker


Recipes: TypeAlias = Callable[[UUID], Awaitable[Recipe]]
"""The recipe of a generation. Raises SettingsError, ModelError or FingerprintMismatch when it cannot be made."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a document. Chunks are counted once for each generation that they were published in."""

    fate: Fate
    chunks: int = 0
    embedded: int = 0
    position: int = 0
    revision: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, work: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[work] = self.seconds.get(work, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Brings documents of one collection up to date, one by one. Safe to kill at any instruction and to run again."""

    catalog: Catalog
    collection: Collection
    recipes: Recipes
    parser: Parser
    max_bytes: int

    async def index(self, source: Source, uri: str, lane: Lane, outcome: Outcome) -> None:
        """Make the catalog hold what the source holds now. `outcome` is filled in as it goes, so that it tells the
        revision that failed.

        Raises a DocumentError when the document cannot be indexed (its old version keeps serving), SourceError when
        the source cannot be read, ProviderError, CatalogError, or what `recipes` raises.
        """
        observed = await self.catalog.observe(self.collection, uri)
        if observed is None:
            return
        with outcome.timed("fetch"):
            item = await self._look(source, uri)
        if item is None:
            await self._delete(source, uri, observed, outcome)
            return
        outcome.revision = item.revision
        try:
            with outcome.timed("fetch"):
                fetched = await source.fetch(item, self.max_bytes, _known(observed))
        except DocumentGone:
            await self._delete(source, uri, observed, outcome)
            raise
        if fetched is None:
            await self.catalog.clear_failures(self.collection, [uri])
            return
        outcome.revision = fetched.revision
        await self._publish(source, item, fetched, observed, lane, outcome)

    async def _look(self, source: Source, uri: str) -> Item | None:
        found = await source.look(uri)
        if isinstance(found, Skip):
            raise UnreadableDocument(found.reason)
        if found is not None and len(uri.encode()) > LONGEST_URI:
            raise UnreadableDocument(f"its address has more than {LONGEST_URI} bytes")
        return found

    async def _delete(self, source: Source, uri: str, observed: Observation, outcome: Outcome) -> None:
        """What a source has no more is deleted if it was the source's own."""
        if any(state and state.source == source.name for state in observed.states.values()):
            outcome.position = await self.catalog.delete(self.collection, [uri], observed.seen)
            outcome.fate = "deleted"
        else:
            await self.catalog.clear_failures(self.collection, [uri])

    async def _publish(
        self, source: Source, item: Item, fetched: Fetched, observed: Observation, lane: Lane, outcome: Outcome
    ) -> None:
        content_hash = hashlib.sha256(fetched.data).digest()
        document: Document | None = None
        for generation, state in observed.states.items():
            if generation in observed.quarantined:
                continue
            recipe = await self.recipes(generation)
            if state is not None and state.content_hash == content_hash:
                await self._touch(recipe.generation, state, fetched.revision, observed.seen, outcome)
                continue
            document = document or await self._parse(item, fetched, outcome)
            chunks = await self._chunk(document, recipe.chunker, outcome)
            version = NewVersion(
                uri=item.uri,
                source=_owner(source, state),
                revision=fetched.revision,
                content_hash=content_hash,
                document=document,
                chunks=chunks,
                vectors=await self._embed(chunks, recipe, lane, outcome),
                modified_at=fetched.modified_at or item.modified_at,
                seen=observed.seen,
            )
            try:
                with outcome.timed("publish"):
                    outcome.position = await self.catalog.publish(recipe.generation, [version])
            except GenerationDropped:
                continue  # since it was observed
            outcome.chunks += len(chunks)
            outcome.fate = "published"

    async def _touch(
        self, generation: Generation, state: DocumentState, revision: str, seen: int, outcome: Outcome
    ) -> None:
        if state.revision != revision:
            await self.catalog.touch(generation, {state.uri: revision}, seen)
            if outcome.fate == "unchanged":
                outcome.fate = "touched"

    # --- parse and chunk ----------------------------------------------------------------------------------------

    async def _parse(self, item: Item, fetched: Fetched, outcome: Outcome) -> Document:
        with outcome.timed("parse"):
            return await self.parser.parse(fetched.data, item.name, fetched.charset)

    async def _chunk(self, document: Document, chunker: Chunker, outcome: Outcome) -> list[Chunk]:
        """Whatever goes wrong with odd text is this one document's fault, and the others go on."""
        try:
            with outcome.timed("chunk"):
                chunks = await asyncio.to_thread(chunker.chunk, document)
        except RagstoneError:
            raise
        except Exception as error:
            logger.debug("while chunking", exc_info=True)
            raise BrokenDocument(f"{type(error).__name__} while it was chunked: {error}") from error
        if not chunks:
            raise EmptyDocument("there is no text in it")
        return chunks

    # --- embed --------------------------------------------------------------------------------------------------

    async def _embed(self, chunks: Sequence[Chunk], recipe: Recipe, lane: Lane, outcome: Outcome) -> Vectors:
        """Only texts that have no vector under this fingerprint are embedded, each once."""
        texts = list(dict.fromkeys(chunk.embedded for chunk in chunks))
        with outcome.timed("publish"):
            vectors = await self.catalog.known_vectors(recipe.generation, texts)
        new = [text for text in texts if text not in vectors]
        with outcome.timed("embed"):
            vectors |= await self._fresh(new, recipe, lane)
        outcome.embedded += len(new)
        return np.stack([vectors[chunk.embedded] for chunk in chunks])

    async def _fresh(self, texts: Sequence[str], recipe: Recipe, lane: Lane) -> dict[str, npt.NDArray[np.float32]]:
        """Embedded in portions, saved as they come: a crash in a long document costs little."""
        vectors: dict[str, npt.NDArray[np.float32]] = {}
        for start in range(0, len(texts), PORTION):
            portion = texts[start : start + PORTION]
            rows = await recipe.embedder.embed(portion, lane)
            vectors |= zip(portion, rows, strict=True)
            if start + PORTION < len(texts):
                await self.catalog.save_vectors(recipe.generation, portion, rows)
        return vectors


def is_folder(source: Source) -> bool:
    """Whether a source speaks for all that is under its prefix; one that is a single file speaks for itself alone."""
    return source.prefix.endswith("/")


def _known(observed: Observation) -> str | None:
    """The revision that all generations hold, when they hold the same one."""
    revisions = {state.revision if state else None for state in observed.states.values()}
    return revisions.pop() if len(revisions) == 1 else None


def _owner(source: Source, state: DocumentState | None) -> str:
    """A file indexed alone stays with the folder that lists it: that one will notice when it is gone."""
    return state.source if state and not is_folder(source) else source.name
