"""The edge index keeps the contract, through its real process, while graphs are built and swapped in under it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.congruence import CongruenceContract
from contracts.index import IndexContract
from index.processes import built
from ragstone.index.base import Index
from ragstone.index.edge.client import EdgeIndex


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


class TestEdgeIndex(IndexContract, CongruenceContract):
    """All tests share one process: it lingers from one to the next."""

    engine = "edge"
    points = 2000

    @pytest.fixture
    async def index(self, data_dir: Path) -> AsyncIterator[Index]:
        index = EdgeIndex.open(data_dir, None, linger=3, follow=False, build_after=30)
        yield index
        await index.aclose()

    async def settled(self, index: Index) -> None:
        assert isinstance(index, EdgeIndex)
        await built(index, fewer_than=1_000)
