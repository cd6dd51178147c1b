"""The Qdrant index keeps the contract: on qdrant-client's local mode, and on a server where one is given.

RAGSTONE_TEST_QDRANT_URL names a server to test on, such as http://127.0.0.1:6333; only collections that start with
ragstone-test- are touched there.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from qdrant_client import AsyncQdrantClient

from contracts.congruence import CongruenceContract
from contracts.index import IndexContract
from ragstone.index.base import Index
from ragstone.index.qdrant.index import QdrantIndex
from ragstone.index.qdrant.server import open_client
from ragstone.index.qdrant.space import Layout

URL = os.environ.get("RAGSTONE_TEST_QDRANT_URL", "")
KEY = os.environ.get("RAGSTONE_TEST_QDRANT_API_KEY")

needs_server = pytest.mark.skipif(not URL, reason="RAGSTONE_TEST_QDRANT_URL names no server")

# Local mode has no index, and says so once.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]

TALLIED = Layout(shards=3)
"""With several shards, rarity is counted in another way."""


async def local(layout: Layout) -> AsyncIterator[Index]:
    index = QdrantIndex(AsyncQdrantClient(":memory:"), layout=layout)
    yield index
    await index.aclose()


async def remote(layout: Layout) -> AsyncIterator[Index]:
    client, name = open_client(URL, KEY), f"ragstone-test-{uuid4().hex[:8]}"
    index = QdrantIndex(client, layout=layout, name=name)
    yield index
    await index.reset("")
    await client.delete_collection(name)
    await index.aclose()


class TestLocalQdrantIndex(IndexContract, CongruenceContract):
    """Local mode looks at every point in Python, so it is given fewer."""

    engine = "qdrant"
    points, questions = 600, 2

    @pytest.fixture
    async def index(self) -> AsyncIterator[Index]:
        async for index in local(Layout()):
            yield index


class TestTalliedLocalQdrantIndex(IndexContract):
    engine = "qdrant"

    @pytest.fixture
    async def index(self) -> AsyncIterator[Index]:
        async for index in local(TALLIED):
            yield index


@needs_server
class TestQdrantIndex(IndexContract, CongruenceContract):
    engine = "qdrant"

    @pytest.fixture
    async def index(self) -> AsyncIterator[Index]:
        async for index in remote(Layout()):
            yield index


@needs_server
class TestTalliedQdrantIndex(IndexContract, CongruenceContract):
    engine = "qdrant"

    @pytest.fixture
    async def index(self) -> AsyncIterator[Index]:
        async for index in remote(TALLIED):
            yield index
