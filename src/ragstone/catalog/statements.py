"""The SQL files of this room: statements by name, and whole scripts."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path

_FOLDER = files("ragstone.catalog") / "sql"


def statement(name: str) -> str:
    """A statement of queries.sql, by the name above it."""
    return _statements()[name]


@cache
def script(name: str) -> str:
    """A whole file, to be sent as one."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def queue_migrations() -> dict[str, Path]:
    """procrastinate's own, by the names that they are recorded under; its package, which is large, is not imported."""
    found = sorted((_procrastinate() / "migrations").glob("*.sql"))
    return {f"procrastinate/{file.stem}": file for file in found}


def queue_schema() -> str:
    """All of procrastinate's tables and functions as its migrations leave them."""
    return (_procrastinate() / "schema.sql").read_text(encoding="utf-8")


def _procrastinate() -> Path:
    spec = find_spec("procrastinate")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "sql"


def migrations() -> dict[str, Traversable]:
    """The migration files by name, in the order in which they are applied."""
    found = {file.name.removesuffix(".sql"): file for file in (_FOLDER / "migrations").iterdir()}
    return dict(sorted(found.items()))


@cache
def _statements() -> dict[str, str]:
    return named(script("queries.sql"))


def named(script: str) -> dict[str, str]:
    """The statements of a script, by the name above each."""
    parts = re.split(r"^-- name: (\w+)\n", script, flags=re.MULTILINE)
    return {name: _without_comments(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _without_comments(body: str) -> str:
    """A comment stands above the next statement's name, and would go along with this one."""
    return "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
