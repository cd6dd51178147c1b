"""How collections are laid out, and what is stored of a point."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

from weaviate import WeaviateAsyncClient
from weaviate.classes.config import (
    Configure,
    ConsistencyLevel,
    DataType,
    Property,
    StopwordsPreset,
    Tokenization,
    VectorDistances,
    VectorFilterStrategy,
)
from weaviate.collections.classes.data import DataObject
from weaviate.exceptions import UnexpectedStatusCodeError

from ragstone.index.terms import Terms, terms
from ragstone.index.weaviate import stems, words
from ragstone.index.weaviate.conditions import BAG, DOCUMENT, STAMP, WORDS
from ragstone.models import Point, Replacement, Scope

HASH, POSTINGS = "hash", "postings"
VECTOR = "default"  # its name where a collection has one only

FLAT_BELOW = 40_000
"""Points up to which a search with a filter computes every cosine instead of walking the graph."""

MOST = 10_000
"""Results of a search: a server gives no more, unless its QUERY_MAXIMUM_RESULTS says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Of new collections; those that are there stay as they are. All of them begin with the name."""

    name: str = "Ragstone"
    replicas: int = 1
    write_consistency: int = 1

    @property
    def registry(self) -> str:
        return self.name

    def space(self, fingerprint: str) -> str:
        """The collection of a vector space."""
        return f"{self.name}_{hashlib.sha256(fingerprint.encode()).hexdigest()[:32]}"

    @property
    def writes(self) -> ConsistencyLevel:
        if self.write_consistency == 1:
            return ConsistencyLevel.ONE
        return ConsistencyLevel.ALL if self.write_consistency >= self.replicas else ConsistencyLevel.QUORUM

    @property
    def reads(self) -> ConsistencyLevel:
        """What was written with QUORUM is read with it; what every copy has can be read of any."""
        return ConsistencyLevel.QUORUM if self.writes == ConsistencyLevel.QUORUM else ConsistencyLevel.ONE


def tenant_of(scope: Scope) -> str:
    """Weaviate takes 64 letters, digits, - and _; the registry knows whose it is."""
    return hashlib.sha256(f"{scope.generation}\0{scope.tenant}".encode("utf-8", "surrogatepass")).hexdigest()


async def make_space(client: WeaviateAsyncClient, fingerprint: str, layout: Layout) -> None:
    """The collection of a vector space, where it is not there yet.

    ef follows the number of results that a search asks for, since only a search knows it. Vectors are not compressed:
    a server's own default may be.
    """
    name = layout.space(fingerprint)
    if await client.collections.exists(name):
        return
    index = Configure.VectorIndex.hnsw(
        distance_metric=VectorDistances.COSINE,
        ef=-1,
        dynamic_ef_factor=1,
        dynamic_ef_min=1,
        dynamic_ef_max=MOST,
        flat_search_cutoff=FLAT_BELOW,
        filter_strategy=VectorFilterStrategy.ACORN,
        quantizer=Configure.VectorIndex.Quantizer.none(),
    )
    try:
        await client.collections.create(
            name,
            description=f"Ragstone: chunks of vector space {fingerprint}",
            properties=_PROPERTIES,
            vector_config=Configure.Vectors.self_provided(vector_index_config=index),
            inverted_index_config=Configure.inverted_index(
                bm25_b=0.0, bm25_k1=stems.SATURATION, stopwords_preset=StopwordsPreset.NONE
            ),
            multi_tenancy_config=Configure.multi_tenancy(),
            replication_config=Configure.replication(factor=layout.replicas),
        )
    except UnexpectedStatusCodeError:
        if not await client.collections.exists(name):  # else another process was quicker
            raise


async def make_registry(client: WeaviateAsyncClient, layout: Layout) -> None:
    """The collection that holds the position and the scopes, where it is not there yet."""
    if await client.collections.exists(layout.registry):
        return
    try:
        await client.collections.create(
            layout.registry,
            description="Ragstone: what this server holds",
            properties=[
                _text("source", filtered=False),
                _text("tenant", filtered=False),
                _text("generation", filtered=False),
                _text("fingerprint"),
                Property(name="dimensions", data_type=DataType.INT),
                Property(name="position", data_type=DataType.INT),
            ],
            vector_config=Configure.Vectors.self_provided(),
            replication_config=Configure.replication(factor=layout.replicas),
        )
    except UnexpectedStatusCodeError:
        if not await client.collections.exists(layout.registry):
            raise


Stored = DataObject[dict[str, str | int | list[str]], None]


def objects(replacement: Replacement, stamp: str) -> list[Stored]:
    """The points of a document as Weaviate stores them. Stems words: not for the event loop."""
    fields = terms(replacement.fields)
    return [_stored(point, replacement.document_id, fields, stamp) for point in replacement.points]


def _stored(point: Point, document: UUID, fields: Terms, stamp: str) -> Stored:
    bag, postings = stems.stored(point.text)
    properties: dict[str, str | int | list[str]] = {
        WORDS: words.of_point(fields, point.chunk_id),
        BAG: bag,
        POSTINGS: postings,
        DOCUMENT: str(document),
        HASH: point.hash.hex(),
        STAMP: stamp,
    }
    return DataObject(properties=properties, uuid=point.chunk_id, vector={VECTOR: point.vector.tolist()})


def object_id(name: str) -> UUID:
    """Of an object of the registry."""
    return UUID(bytes=hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:16], version=5)


def _text(
    name: str, *, filtered: bool = True, searched: bool = False, tokens: Tokenization = Tokenization.FIELD
) -> Property:
    return Property(
        name=name,
        data_type=DataType.TEXT,
        index_filterable=filtered,
        index_searchable=searched,
        tokenization=tokens,
    )


_PROPERTIES = [
    Property(
        name=WORDS,
        data_type=DataType.TEXT_ARRAY,
        index_filterable=True,
        index_searchable=False,
        tokenization=Tokenization.FIELD,
    ),
    _text(BAG, searched=True, tokens=Tokenization.WHITESPACE),
    _text(DOCUMENT),
    _text(STAMP),
    _text(HASH, filtered=False),
    _text(POSTINGS, filtered=False),
]
