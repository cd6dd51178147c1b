"""Weaviate keeps the contract: a real server where RAGSTONE_TEST_WEAVIATE_URL names one, and what stands in for it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from contracts.congruence import CongruenceContract
from contracts.index import IndexContract
from index.weaviate_stand_in import StandIn
from ragstone.index.weaviate.index import WeaviateIndex

URL = os.environ.get("RAGSTONE_TEST_WEAVIATE_URL", "").removeprefix("weaviate+")


@pytest.fixture(scope="module")
def shared() -> Iterator[StandIn]:
    """One for the contract, as a real server is; what is forgotten by nobody stays."""
    server = StandIn()
    server.start()
    yield server
    server.stop()


class TestWeaviateOnAStandIn(IndexContract, CongruenceContract):
    engine = "weaviate"
    questions = 3  # it is slow

    @pytest.fixture
    async def index(self, shared: StandIn) -> AsyncIterator[WeaviateIndex]:
        index = WeaviateIndex.open(shared.address)
        await index.reset("contract")
        yield index
        await index.aclose()


@pytest.mark.skipif(not URL, reason="RAGSTONE_TEST_WEAVIATE_URL names no server")
class TestWeaviate(IndexContract, CongruenceContract):
    engine = "weaviate"

    @pytest.fixture
    async def index(self) -> AsyncIterator[WeaviateIndex]:
        index = WeaviateIndex.open(URL, api_key=os.environ.get("RAGSTONE_TEST_WEAVIATE_KEY"), name="RagstoneTest")
        await index.reset("contract")
        yield index
        await index.aclose()
