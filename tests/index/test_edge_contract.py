"""The edge index keeps the contract, through its real process, with and without graphs being built meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.index import IndexContract
from ragstone.index.base import Index
from ragstone.index.edge.client import EdgeIndex


class TestEdgeIndex(IndexContract):
    @pytest.fixture
    async def index(self, tmp_path: Path) -> AsyncIterator[Index]:
        index = EdgeIndex.open(tmp_path, None, linger=0, follow=False)
        yield index
        await index.aclose()


class TestEdgeIndexThatBuilds(IndexContract):
    """Every few changes make the process build graphs on a copy and swap it in."""

    @pytest.fixture
    async def index(self, tmp_path: Path) -> AsyncIterator[Index]:
        index = EdgeIndex.open(tmp_path, None, linger=0, follow=False, build_after=10)
        yield index
        await index.aclose()
