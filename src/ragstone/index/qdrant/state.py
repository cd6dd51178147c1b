"""How far the index follows which catalog: one point of a small collection beside the spaces."""

from __future__ import annotations

from dataclasses import dataclass

from qdrant_client import AsyncQdrantClient
from qdrant_client import models as q

from ragstone.index import lexical
from ragstone.index.qdrant.server import SLOW, require_completed
from ragstone.index.qdrant.space import ORDERING, Layout

LAYOUT = f"1; {lexical.SIGNATURE}"
"""An index of another layout counts as none, and so is rebuilt."""

ID = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    source: str = ""
    position: int = 0


async def read_state(client: AsyncQdrantClient, name: str) -> State:
    """Of a collection that is there."""
    records = await client.retrieve(name, [ID])
    payload = (records[0].payload or {}) if records else {}
    if payload.get("layout") != LAYOUT:
        return State()
    return State(source=payload["source"], position=payload["position"])


async def write_state(client: AsyncQdrantClient, name: str, state: State) -> None:
    payload = {"layout": LAYOUT, "source": state.source, "position": state.position}
    point = q.PointStruct(id=ID, vector={}, payload=payload)
    require_completed([await client.upsert(name, [point], wait=True, ordering=ORDERING, timeout=SLOW)])


async def create_state(client: AsyncQdrantClient, name: str, layout: Layout) -> None:
    await client.create_collection(
        name,
        vectors_config={},
        shard_number=1,
        replication_factor=layout.replicas,
        write_consistency_factor=layout.write_consistency,
        timeout=SLOW,
    )
