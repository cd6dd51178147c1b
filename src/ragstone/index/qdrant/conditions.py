"""Our filters as Qdrant's."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from qdrant_client import models as q

from ragstone.index.filters import And, Exists, Filter, In, Not, Or, Range

SCOPE, DOCUMENT, WORDS, HASH, STEMS = "scope", "document", "words", "hash", "stems"
"""Keys of a point's payload; all others are its numbers, n_… and d_…"""

NOTHING = q.HasIdCondition(has_id=[])


def within(scope: str) -> q.FieldCondition:
    return q.FieldCondition(key=SCOPE, match=q.MatchValue(value=scope))


def inside(scope: str, where: Filter | None = None) -> q.Filter:
    """What a scope holds, and lets through."""
    return q.Filter(must=[within(scope)] if where is None else [within(scope), compiled(where)])


def among(ids: Iterable[UUID]) -> q.HasIdCondition:
    return q.HasIdCondition(has_id=[str(each) for each in ids])


def of_documents(documents: Iterable[UUID]) -> q.FieldCondition:
    return q.FieldCondition(key=DOCUMENT, match=q.MatchAny(any=[str(document) for document in documents]))


def compiled(where: Filter) -> q.Condition:
    """One condition that holds exactly where the filter does."""
    match where:
        case In() | Exists():
            return q.FieldCondition(key=WORDS, match=q.MatchAny(any=list(where.terms))) if where.terms else NOTHING
        case Range():
            bounds = q.Range(gt=where.gt, gte=where.gte, lt=where.lt, lte=where.lte)
            return q.FieldCondition(key=where.key, range=bounds)
        case And():
            return q.Filter(must=[compiled(part) for part in where.parts])
        case Or():  # an empty list would be no condition at all
            return q.Filter(should=[compiled(part) for part in where.parts] or [NOTHING])
        case Not():
            return q.Filter(must_not=[compiled(where.part)])
