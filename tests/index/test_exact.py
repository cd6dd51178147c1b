"""The exact index keeps the contract."""

from __future__ import annotations

import pytest

from contracts.congruence import CongruenceContract
from contracts.index import IndexContract
from ragstone.index.base import Index
from ragstone.index.exact import ExactIndex


class TestExactIndex(IndexContract, CongruenceContract):
    engine = "exact"

    @pytest.fixture
    def index(self) -> Index:
        return ExactIndex()
