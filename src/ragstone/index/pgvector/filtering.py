"""Filters as conditions in SQL on a document `d`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, LiteralString

from psycopg.sql import SQL, Composable, Literal, Placeholder

from ragstone.index.filters import And, Exists, Filter, In, Not, Or, Range

MANY = 50
"""Terms from which on a document's are looked up among the filter's, and not each with each."""

_BOUNDS: dict[str, LiteralString] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def digest(scope: int, term: str) -> int:
    """A term as it is stored: 64 bits of a hash, so that a false match is as good as impossible."""
    hashed = hashlib.blake2b(f"{scope}\0{term}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, signed=True)


class Condition:
    """A filter within a scope: `sql`, and the `parameters` that it names."""

    def __init__(self, where: Filter, scope: int) -> None:
        self._scope = scope
        self.parameters: dict[str, Any] = {}
        self.sql = self._compiled(where)

    def _compiled(self, where: Filter) -> Composable:
        match where:
            case In() | Exists():
                return self._has_one_of(where.terms)
            case Range():
                return self._has_number(where)
            case And():
                return self._joined(where.parts, SQL(" AND "), SQL("true"))
            case Or():
                return self._joined(where.parts, SQL(" OR "), SQL("false"))
            case Not():
                return SQL("NOT {}").format(self._compiled(where.part))

    def _joined(self, parts: Iterable[Filter], word: SQL, without: SQL) -> Composable:
        compiled = [self._compiled(part) for part in parts]
        return SQL("({})").format(word.join(compiled)) if compiled else without

    def _has_one_of(self, terms: tuple[str, ...]) -> Composable:
        digests = self._named([digest(self._scope, term) for term in terms])
        condition = SQL("d.terms && {}::bigint[]").format(digests)
        if len(terms) <= MANY:
            return SQL("({})").format(condition)
        return SQL("EXISTS (SELECT FROM unnest(d.terms) AS t (term) WHERE t.term = ANY({}::bigint[]))").format(digests)

    def _has_number(self, where: Range) -> Composable:
        bounds = [
            SQL("AND n.value {} {}").format(SQL(sign), self._named(bound))
            for name, sign in _BOUNDS.items()
            if (bound := getattr(where, name)) is not None
        ]
        return SQL(
            "EXISTS (SELECT FROM ragstone_index.numbers n"
            " WHERE n.document = d.number AND n.scope = {} AND n.key = {} {})"
        ).format(Literal(self._scope), self._named(where.key), SQL(" ").join(bounds))

    def _named(self, value: Any) -> Placeholder:
        name = f"where_{len(self.parameters)}"
        self.parameters[name] = value
        return Placeholder(name)
