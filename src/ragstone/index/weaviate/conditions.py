"""Our filters as Weaviate's, and what else its points are chosen by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal
from uuid import UUID

from weaviate.collections.classes.filters import Filter as Condition
from weaviate.collections.classes.filters import FilterReturn

from ragstone.index.filters import And, Exists, Filter, In, Not, Or, Range
from ragstone.index.weaviate import words

WORDS, DOCUMENT, STAMP, BAG = "words", "document", "stamp", "bag"
"""Properties that are filtered by."""

ALL = Condition.by_property(WORDS).contains_any([words.EVERY])


def within(where: Filter | None) -> FilterReturn | Literal[False] | None:
    """The condition; None for no condition, False when nothing can meet it."""
    compiled = True if where is None else _compile(where)
    if isinstance(compiled, bool):
        return None if compiled else False
    return compiled


def both(*conditions: FilterReturn | None) -> FilterReturn:
    """All that are there; without any, one that all points meet."""
    return Condition.all_of([condition for condition in conditions if condition is not None] or [ALL])


def one_of(found: Sequence[str]) -> FilterReturn:
    return Condition.by_property(WORDS).contains_any(list(found))  # of a tuple, the client would send nothing


def has_stem(stem: int) -> FilterReturn:
    return Condition.by_property(BAG).equal(str(stem))


def ids(chunks: Sequence[UUID]) -> FilterReturn:
    return Condition.by_id().contains_any(list(chunks))


def older(documents: Iterable[UUID], stamp: str) -> FilterReturn:
    """Points of the documents that another write than the stamped one has left."""
    return Condition.all_of(
        [
            Condition.by_property(DOCUMENT).contains_any([str(document) for document in documents]),
            Condition.by_property(STAMP).not_equal(stamp),
        ]
    )


def _compile(where: Filter) -> FilterReturn | bool:
    match where:
        case In() | Exists():
            return one_of(where.terms) if where.terms else False
        case Range():
            prefixes = words.of_range(where)
            return one_of(prefixes) if prefixes else False
        case And():
            return _joined(where.parts, neutral=True)
        case Or():
            return _joined(where.parts, neutral=False)
        case Not():
            part = _compile(where.part)
            return not part if isinstance(part, bool) else Condition.not_(part)


def _joined(parts: Iterable[Filter], *, neutral: bool) -> FilterReturn | bool:
    """And, of which everything is the neutral part, or Or, of which nothing is."""
    compiled = [_compile(part) for part in parts]
    if (not neutral) in compiled:
        return not neutral
    conditions = [part for part in compiled if not isinstance(part, bool)]
    if not conditions:
        return neutral
    return Condition.all_of(conditions) if neutral else Condition.any_of(conditions)
