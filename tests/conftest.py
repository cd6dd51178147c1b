"""Fixtures for every room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from postgres import Postgres, server
from ragstone.catalog.catalog import Catalog
from ragstone.catalog.migrations import ensure_schema


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real server, started when the first test asks for it."""
    with server() as started:
        yield started


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A fresh, migrated database."""
    with postgres.database() as url:
        asyncio.run(ensure_schema(url))
        yield url


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    """An open catalog on the fresh database."""
    opened = await Catalog.open(database_url)
    yield opened
    await opened.aclose()
