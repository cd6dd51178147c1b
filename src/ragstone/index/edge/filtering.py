"""Filters as Qdrant Edge has them: inside the search, never on its results."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from uuid import UUID

import qdrant_edge as qdrant

from ragstone.index.filters import And, Exists, Filter, In, Not, Or, Range, conditions

Condition = qdrant.Filter | qdrant.FieldCondition | qdrant.HasIdCondition

WORDS = "words"
"""The payload's list of terms. Numbers are beside it under their own keys, each of which begins with n_ or d_."""

_NOTHING = qdrant.HasIdCondition(set())


def compiled(where: Filter, absent: Collection[str] = ()) -> Condition:
    """The engine's own objects for a filter. No point has a number under the keys in `absent`."""
    match where:
        case In() | Exists():
            return qdrant.FieldCondition(WORDS, qdrant.MatchAny(list(where.terms)))
        case Range():
            return _NOTHING if where.key in absent else _range(where)
        case And():
            return qdrant.Filter(must=[compiled(part, absent) for part in where.parts])
        case Or(parts=()):
            return _NOTHING  # to the engine, an empty "should" is everything
        case Or():
            return qdrant.Filter(should=[compiled(part, absent) for part in where.parts])
        case Not():
            return qdrant.Filter(must_not=[compiled(where.part, absent)])


def ranges(where: Filter | None) -> set[str]:
    """The keys of the numbers that a filter asks for."""
    return set() if where is None else {part.key for part in conditions(where) if isinstance(part, Range)}


def among(ids: Iterable[UUID]) -> Condition:
    return qdrant.HasIdCondition(set(ids))


def has(key: str, values: Collection[str]) -> Condition:
    """One of the values stands under the key."""
    return qdrant.FieldCondition(key, qdrant.MatchAny(list(values)))


def _range(where: Range) -> Condition:
    """With one bound a side: of two, the engine's index would go by one of them alone."""
    above = where.gt is not None and (where.gte is None or where.gt >= where.gte)
    below = where.lt is not None and (where.lte is None or where.lt <= where.lte)
    bounds = qdrant.RangeFloat(
        gt=where.gt if above else None,
        gte=None if above else where.gte,
        lt=where.lt if below else None,
        lte=None if below else where.lte,
    )
    return qdrant.FieldCondition(where.key, range=bounds)
