"""The SQL files of this room: statements by name, and whole scripts."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_FOLDER = files("ragstone.catalog") / "sql"


def statement(name: str) -> str:
    """A statement of queries.sql, by the name above it."""
    return _statements()[name]


@cache
def script(name: str) -> str:
    """A whole file, to be sent as one."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def migrations() -> dict[str, Traversable]:
    """The migration files by name, in the order in which they are applied."""
    found = {file.name.removesuffix(".sql"): file for file in (_FOLDER / "migrations").iterdir()}
    return dict(sorted(found.items()))


@cache
def _statements() -> dict[str, str]:
    parts = re.split(r"^-- name: (\w+)\n", script("queries.sql"), flags=re.MULTILINE)
    return {name: _without_comments(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _without_comments(body: str) -> str:
    """A comment stands above the next statement's name, and would go along with this one."""
    return "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
