"""How rare the words of a question are in a scope, in a collection of several shards.

Each point has a number for each of its words in its scope, its stems; how many points have one is what the index over
them knows without looking at any point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

from qdrant_client import AsyncQdrantClient
from qdrant_client import models as q

from ragstone.index import lexical
from ragstone.index.qdrant.conditions import STEMS, within

if TYPE_CHECKING:
    from qdrant_edge import SparseVector


def stems(scope: str, words: Iterable[int]) -> list[int]:
    """What a point of the scope with these words stores: integers of 64 bits."""
    return [_stem(scope, word) for word in words]


async def weighed(client: AsyncQdrantClient, name: str, scope: str, words: SparseVector) -> q.SparseVector:
    """The words of a question, each weighing its idf in the scope."""
    kept = [q.FieldCondition(key=STEMS, match=q.MatchValue(value=stem)) for stem in stems(scope, words.indices)]
    counts = await asyncio.gather(*(_count(client, name, condition) for condition in (within(scope), *kept)))
    total, containing = counts[0], counts[1:]
    # A count taken while points are written may run ahead of the total.
    values = [lexical.idf(max(total, n), n) for n in containing]
    return q.SparseVector(indices=words.indices, values=values)


async def _count(client: AsyncQdrantClient, name: str, condition: q.FieldCondition) -> int:
    """Without `exact` one condition is read off its index; with it, every matching point would be collected."""
    return (await client.count(name, count_filter=q.Filter(must=[condition]), exact=False)).count


def _stem(scope: str, word: int) -> int:
    return int.from_bytes(blake2b(f"{scope}\0{word}".encode(), digest_size=8).digest(), "big", signed=True)
