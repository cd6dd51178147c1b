"""The index in PostgreSQL keeps the contract, alone and with graphs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from contracts.congruence import CongruenceContract
from contracts.index import IndexContract
from ragstone.index.base import Index
from ragstone.index.pgvector import PgvectorIndex


class TestPgvectorIndex(IndexContract, CongruenceContract):
    engine = "pgvector"
    points = 2000

    @pytest.fixture
    async def index(self, database_url: str) -> AsyncIterator[PgvectorIndex]:
        """Small enough a scope has a graph for the congruence suite to walk one."""
        opened = PgvectorIndex.open(database_url, build_from=1_000)
        yield opened
        await opened.aclose()

    async def settled(self, index: Index) -> None:
        assert isinstance(index, PgvectorIndex)
        await index.maintain()
        assert (await index.health()).details["graphs"] == 1
