"""How the collections of an index stand, and the cluster that they are on."""

from __future__ import annotations

from collections.abc import Sequence

from qdrant_client import AsyncQdrantClient
from qdrant_client import models as q
from qdrant_client.http.exceptions import UnexpectedResponse

from ragstone.index.base import Health


async def health_of(client: AsyncQdrantClient, version: str, position: int, names: Sequence[str]) -> Health:
    spaces = [await client.get_collection(name) for name in names]
    points = sum(space.points_count or 0 for space in spaces)
    unbuilt = sum(_unbuilt(space.points_count or 0, space.indexed_vectors_count or 0) for space in spaces)
    busy = any(space.status == q.CollectionStatus.YELLOW for space in spaces)
    return Health(
        engine="qdrant",
        version=version,
        state="building" if busy else "ready",
        position=position,
        points=points,
        unbuilt=unbuilt,
        details={
            "collections": len(spaces),
            "shards": sum(space.config.params.shard_number or 1 for space in spaces),
            "segments": sum(space.segments_count for space in spaces),
            "indexed_share": round(1 - unbuilt / points, 4) if points else 1.0,
            "optimizer": _optimizer(spaces),
            "cluster": await _cluster(client),
        },
    )


def _unbuilt(points: int, indexed: int) -> int:
    """A server counts the vectors of words too, and those are indexed from the start."""
    return min(max(2 * points - indexed, 0), points)


def _optimizer(spaces: Sequence[q.CollectionInfo]) -> str:
    """ok, or what went wrong in it; a collection is red when a write of it failed for good."""
    for space in spaces:
        if isinstance(space.optimizer_status, q.OptimizersStatusOneOf1):
            return space.optimizer_status.error
        if space.status == q.CollectionStatus.RED:
            return "a collection is red: see the log of the server"
        if space.status == q.CollectionStatus.GREY:
            return "begins with the next write"
    return "ok"


async def _cluster(client: AsyncQdrantClient) -> str:
    try:
        cluster = await client.cluster_status()
    except NotImplementedError:  # qdrant-client's local mode
        return "none"
    except UnexpectedResponse as error:
        if error.status_code != 403:
            raise
        return "unknown: the key does not allow to ask"
    if isinstance(cluster, q.ClusterStatusOneOf):
        return "off"
    failing = len(cluster.message_send_failures)
    return f"{len(cluster.peers)} peers" + (f", {failing} not answering" if failing else "")
