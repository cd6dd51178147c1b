"""What settings name, made: the one file that knows all concrete classes of the pluggable kinds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from pydantic import ValidationError

from ragstone.catalog.appending import Attached
from ragstone.catalog.catalog import Catalog
from ragstone.embedding import fingerprint
from ragstone.embedding.base import Embedder, Usage
from ragstone.errors import FingerprintMismatch, SettingsError, SourceError
from ragstone.generation.base import Generator
from ragstone.index.base import Index
from ragstone.indexing.pipeline import Recipe
from ragstone.models import Collection, Generation, Vectors
from ragstone.settings import ChunkingSettings, EmbeddingSettings, IndexSettings, Settings
from ragstone.source_settings import FolderSource, ObjectStoreSource, PushSource, SqlSource, WebSource
from ragstone.source_settings import Source as SourceSettings
from ragstone.sources.base import Source

if TYPE_CHECKING:
    from ragstone.index.pgvector import PgvectorIndex

EF = 128
"""The breadth of graph searches that nobody chose: recall above .98 on most text."""

LOCAL_BATCH = 16
"""Texts that are embedded here together: a change of a document waits behind as many of bulk work, at most."""


def make_source(name: str, settings: SourceSettings, catalog: Catalog, collection: Collection) -> Source:
    """A source by its settings. Raises SourceError when an extra is not installed."""
    match settings:
        case SqlSource():
            from ragstone.sources.sql import SqlTable

            return SqlTable(name, settings)
        case WebSource():
            from ragstone.sources.web import WebPages

            return WebPages(name, settings)
        case ObjectStoreSource():
            try:
                from ragstone.sources.object_store import ObjectStorage
            except ImportError:
                hint = "pip install 'ragstone[object-store]'"
                raise SourceError(f"source {name}: obstore is not installed", hint=hint) from None
            return ObjectStorage(name, settings)
        case PushSource():
            from ragstone.indexing.push import Push

            return Push(name, catalog, collection)
        case FolderSource():
            from ragstone.sources.folder import Folder

            return Folder(name, settings)


def make_embedder(chosen: EmbeddingSettings, cache_dir: Path | None) -> Embedder:
    """The embedder that the settings name. Its model is loaded when it is first needed."""
    if chosen.provider == "openai":
        from ragstone.embedding.limiter import Limiter
        from ragstone.embedding.openai import OpenAIEmbedder

        return OpenAIEmbedder(
            model=chosen.model,
            revision=chosen.revision,
            query_prefix=chosen.query_prefix or "",
            document_prefix=chosen.document_prefix or "",
            dimensions=chosen.dimensions,
            max_tokens=chosen.max_tokens,
            price=chosen.price,
            base_url=chosen.base_url,
            api_key=chosen.api_key.get_secret_value() if chosen.api_key else None,
            batch_size=chosen.batch_size,
            limiter=Limiter(chosen.requests_per_minute, chosen.tokens_per_minute),
        )
    from ragstone.embedding.local import LocalEmbedder

    return LocalEmbedder.open(
        chosen.model,
        cache_dir,
        chosen.precision,
        chosen.threads,
        revision=chosen.revision,
        query_prefix=chosen.query_prefix,
        document_prefix=chosen.document_prefix,
    )


def make_generator(settings: Settings, embedder: Embedder) -> Generator:
    """The generator that the settings name."""
    if settings.generation.provider == "openai":
        from ragstone.generation.openai import OpenAIGenerator

        return OpenAIGenerator(settings.generation)
    from ragstone.generation.extractive import ExtractiveGenerator

    return ExtractiveGenerator(settings.generation, embedder)


def make_index(settings: Settings, url: str, *, embedded: bool) -> Index:
    """The index engine that the settings name, for the catalog at a URL: `embedded`, it may come back at another.

    Nothing is waited for. Raises IndexUnavailable, or IndexFailure when an extra is not installed.
    """
    chosen = settings.index
    match chosen.engine:
        case "exact":
            from ragstone.index.exact import ExactIndex

            return ExactIndex()
        case "pgvector":
            from ragstone.index.pgvector import PgvectorIndex

            return PgvectorIndex.open(url, ef=chosen.ef)
        case "qdrant":
            from ragstone.index import qdrant

            return qdrant.connect(chosen)
        case "weaviate":
            from ragstone.index import weaviate

            return weaviate.connect(chosen)
        case _:
            from ragstone.index.edge.client import EdgeIndex

            return EdgeIndex.open(
                settings.data_dir, None if embedded else url, ef=chosen.ef or EF, linger=chosen.linger
            )


def attached(settings: Settings, index: Index) -> Attached | None:
    """The index, if it is in the catalog's own database: it is written to in the transactions that publish."""
    return cast("PgvectorIndex", index) if settings.index.engine == "pgvector" else None


def follower(settings: Settings, catalog: Catalog, index: Index) -> Coroutine[Any, Any, None] | None:
    """What keeps the index up to date in this process, until cancelled; None where the engine sees to it itself."""
    from ragstone.index.applier import Applier, follow_alone

    match settings.index.engine:
        case "edge":
            return None
        case "exact":
            return Applier(catalog, index).run()
        case _:
            return follow_alone(catalog, index, settings.index.url)


def breadth(settings: IndexSettings, generation: Generation) -> int | None:
    """How broadly a generation's graph is searched: as set, or as `ragstone tune` found; None: the engine's default."""
    if settings.ef is not None:
        return settings.ef
    found = generation.tuning.get(settings.engine, {}).get("ef")
    return None if found is None else int(found)


class Embedders:
    """The embedders of this process: that of the present settings, and those of the generations in use.

    A generation's is made from the settings that it was built with, so that it goes on working, and being written to,
    after the settings have changed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, Embedder] = {}
        self.present = self._keep(settings.embedding)

    def of(self, generation: Generation) -> Embedder:
        """Raises FingerprintMismatch when the settings it was built with no longer make the same vectors."""
        made = self._made.get(generation.fingerprint.digest)
        if made is None:
            made = self._keep(self._former(generation))
            if made.fingerprint.digest != generation.fingerprint.digest:
                fingerprint.compare(generation.fingerprint, self.present.fingerprint)
        return made

    def usage(self) -> Usage:
        """Of all of them together."""
        each = [embedder.usage for embedder in self._made.values()]
        return Usage(
            texts=sum(one.texts for one in each),
            tokens=sum(one.tokens for one in each),
            requests=sum(one.requests for one in each),
            money=sum(one.money for one in each),
        )

    async def aclose(self) -> None:
        for embedder in self._made.values():
            await embedder.aclose()

    def _keep(self, chosen: EmbeddingSettings) -> Embedder:
        """Documents of concurrent callers share batches; questions pass straight through."""
        from ragstone.embedding.pool import Pooled

        embedder = make_embedder(chosen, self._settings.cache_dir)
        batch = LOCAL_BATCH if chosen.provider == "local" else chosen.batch_size
        return self._made.setdefault(embedder.fingerprint.digest, Pooled(embedder, batch=batch))

    def _former(self, generation: Generation) -> EmbeddingSettings:
        """The settings that a generation was built with; the key goes to no other address than it is set for."""
        try:
            former = EmbeddingSettings(**generation.embedding)
        except ValidationError as error:
            raise FingerprintMismatch(
                f"the embedding settings of generation {generation.id} are not understood: {error}"
            ) from error
        present = self._settings.embedding
        if (former.provider, former.base_url) == (present.provider, present.base_url):
            return former.model_copy(update={"api_key": present.api_key})
        return former


class Recipes:
    """The recipes of a collection's generations, made when they are first needed."""

    def __init__(self, catalog: Catalog, collection: Collection, embedders: Embedders) -> None:
        self._catalog = catalog
        self._collection = collection
        self._embedders = embedders
        self._made: dict[UUID, Recipe] = {}

    async def __call__(self, id: UUID) -> Recipe:  # noqa: A002
        if id not in self._made:
            generation = await self._catalog.generation(self._collection.tenant, id)
            assert generation is not None  # a generation's row stays for ever
            _refuse_newer(generation)
            self._made[id] = make_recipe(generation, self._embedders.of(generation))
        return self._made[id]


def _refuse_newer(generation: Generation) -> None:
    """Workers of two releases may share a queue: what the older reads must not pass for what the newer would."""
    from ragstone.parsing.parse import PARSER_VERSION

    if int(generation.settings["parser"]) > int(PARSER_VERSION):
        raise SettingsError(
            f"generation {generation.id} is read with a newer parser than this Ragstone has", hint="upgrade this worker"
        )


def make_recipe(generation: Generation, embedder: Embedder) -> Recipe:
    """What it takes to write to a generation, in the running event loop."""
    from ragstone.chunking.make import make_chunker

    loop = asyncio.get_running_loop()

    def embed(texts: Sequence[str]) -> Vectors:
        """Called by a chunker, in its thread."""
        return asyncio.run_coroutine_threadsafe(embedder.embed(texts, "backfill"), loop).result()

    settings = ChunkingSettings(**generation.settings["chunking"])
    chunker = make_chunker(settings, embedder.count, embedder.max_tokens, embed)
    return Recipe(generation=generation, embedder=embedder, chunker=chunker)
