"""A loopback endpoint for the models of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from indexing.models import Models, serving


@pytest.fixture
def models() -> Iterator[Models]:
    with serving() as started:
        yield started
