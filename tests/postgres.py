"""A real PostgreSQL for the tests: one embedded server a session, and an empty database of its own for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from ragstone.catalog import embedded

EMPTY = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    DROP SCHEMA IF EXISTS ragstone CASCADE;
    DROP SCHEMA IF EXISTS ragstone_queue CASCADE;
    DROP SCHEMA IF EXISTS ragstone_index CASCADE;
"""


@dataclass(frozen=True)
class Postgres:
    """A running server. `url` names its maintenance database."""

    url: str
    _free: list[str] = field(default_factory=list)
    _made: list[str] = field(default_factory=list)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database for one user at a time. It is emptied after use: a new one takes longer."""
        name = self._free.pop() if self._free else self._create()
        url = self.named(name)
        try:
            yield url
        finally:
            _execute(url, SQL(EMPTY))
            self._free.append(name)

    def named(self, database: str) -> str:
        """The URL of another database on this server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))

    def _create(self) -> str:
        name = f"test_{len(self._made)}"
        self._made.append(name)
        _execute(self.url, SQL("CREATE DATABASE {}").format(Identifier(name)))
        return name


def _execute(url: str, query: SQL | Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(query)


def _in_memory() -> Path | None:
    """A file system in memory with room enough, if there is one: making and removing a data folder is quicker there."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 2**30 else None


@contextmanager
def server() -> Iterator[Postgres]:
    """Start a server in a new folder; stop and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ragstone-tests-", dir=_in_memory()))
    started = embedded.start(folder)
    try:
        for query in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
            _execute(started.url, SQL(query))
        yield Postgres(started.url)
    finally:
        started.stop()
        shutil.rmtree(folder)
