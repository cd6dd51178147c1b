"""The SQL files of this engine: statements by name, plain or to be composed."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from psycopg.sql import SQL, Composable, Composed

from ragstone.catalog.statements import named

_FOLDER = files("ragstone.index.pgvector") / "sql"


def statement(name: str) -> str:
    """A statement of queries.sql, by the name above it."""
    return _statements()[name]


def composed(name: str, **parts: Composable) -> Composed:
    """A statement with its {parts} put in."""
    return SQL(_statements()[name]).format(**parts)


@cache
def schema() -> str:
    """All tables of the index."""
    return (_FOLDER / "schema.sql").read_text(encoding="utf-8")


@cache
def _statements() -> dict[str, str]:
    return named((_FOLDER / "queries.sql").read_text(encoding="utf-8"))
