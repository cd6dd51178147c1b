"""The Qdrant engine: one server or a cluster, reached over HTTP.

How things lie there, and why:

- One Qdrant collection for each vector space (fingerprint), shared by all tenants and generations. Each point carries
  its scope (tenant and generation) under a tenant index, each scope has a graph of its own, and every search is
  filtered by it. A collection for each generation would cost a cluster memory, files and threads for each of thousands
  of small collections, and an alias for the one that serves would keep in a second place what the catalog says
  already: a switch or a rollback is one row there. So there are no aliases.
- Rarity of words is counted in the scope. Qdrant does that itself since 1.19, but shard by shard: with one shard it is
  exact. A space of several shards is tallied instead: each point stores a number for each of its words in its scope,
  and a search first asks how many points have each, a look-up in an index. That costs disk, so one shard goes without.
- Position and source are one point of a small collection beside the spaces, written after the data.
- Quantised vectors select, whole ones score: cosines are exact whatever the quantisation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragstone.errors import IndexFailure

if TYPE_CHECKING:
    from ragstone.index.qdrant.index import QdrantIndex
    from ragstone.settings import IndexSettings


def connect(settings: IndexSettings) -> QdrantIndex:
    """The index on a server. Nothing is sent before it is first used. Raises IndexFailure without qdrant-client."""
    try:
        from ragstone.index.qdrant.index import QdrantIndex
        from ragstone.index.qdrant.server import open_client
        from ragstone.index.qdrant.space import Layout
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("qdrant_client"):
            raise
        raise IndexFailure("qdrant-client is not installed", hint="pip install 'ragstone[qdrant]'") from None
    key = settings.api_key.get_secret_value() if settings.api_key else None
    layout = Layout(
        shards=settings.shards,
        replicas=settings.replicas,
        write_consistency=settings.write_consistency,
        quantization=settings.quantization,
    )
    return QdrantIndex(open_client(settings.address, key), layout=layout, ef=settings.ef)
