"""The Weaviate engine: one server or a cluster, reached by REST and gRPC.

Not run against a real server so far: it was made by the client's messages and the server's source, and its tests run
on what stands in for one. `RAGSTONE_TEST_WEAVIATE_URL` runs the same contract on a server; see docs/engines.md.

How things lie there, and why:

- A collection for each vector space (fingerprint), in it a Weaviate tenant for each scope: a graph and word counts of
  its own, so that rarity is counted in the scope, and an end in one call.
- Position, source and the real names of scopes are in a small collection beside the spaces. A scope is written there
  once there is a place for its points, the position after the data.
- A point's fields are words of one set, numbers too (`words`): Weaviate's ranges over lists mean something else.
- Weaviate's BM25 chooses candidates, our formula scores them (`stems`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragstone.errors import IndexFailure

if TYPE_CHECKING:
    from ragstone.index.weaviate.index import WeaviateIndex
    from ragstone.settings import IndexSettings


def connect(settings: IndexSettings) -> WeaviateIndex:
    """The index on a server. Nothing is sent before it is first used.

    Raises IndexFailure without weaviate-client, SettingsError for an address that is not understood.
    """
    try:
        from ragstone.index.weaviate.index import WeaviateIndex
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(("weaviate", "grpc")):
            raise
        raise IndexFailure("weaviate-client is not installed", hint="pip install 'ragstone[weaviate]'") from None
    return WeaviateIndex.open(
        settings.address,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        ef=settings.ef,
        replicas=settings.replicas,
        write_consistency=settings.write_consistency,
    )
