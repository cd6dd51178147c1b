"""One filter language for every engine: conditions on a document's fields, joined by and, or and not.

A condition holds when any of the field's values meets it; a document without the field meets none, and so meets the
negation of each. A range holds numbers against numbers and moments against dates: a value of another kind is outside.
`matches` is what each engine's translation must agree with. Filters are written as text (`ragstone.index.filter_text`)
or as JSON (`from_json`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

from ragstone.catalog.fields import OF_EVERY_DOCUMENT
from ragstone.errors import FilterError
from ragstone.index import terms
from ragstone.models import Scalar

DEEPEST = 20  # conditions within conditions: two to three messages each, and servers take 100 within each other
MOST = 10_000  # values of one condition


@dataclass(frozen=True, slots=True)
class In:
    """The field has one of the values."""

    field: str
    values: tuple[Scalar, ...]

    @property
    def terms(self) -> tuple[str, ...]:
        """The document has one of these words (ragstone.index.terms)."""
        return tuple(sorted({terms.equals(self.field, value) for value in self.values}))


@dataclass(frozen=True, slots=True)
class Exists:
    """The field has a value."""

    field: str

    @property
    def terms(self) -> tuple[str, ...]:
        """The document has this word."""
        return (terms.has(self.field),)


@dataclass(frozen=True, slots=True)
class Range:
    """The field has a number, or a moment where `dates`, within bounds; None is no bound.

    Bounds of moments are in seconds since 1970.
    """

    field: str
    dates: bool = False
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None

    @property
    def key(self) -> str:
        """The document's numbers of this name (ragstone.index.terms)."""
        return terms.moment_key(self.field) if self.dates else terms.number_key(self.field)

    def holds(self, value: float) -> bool:
        return (
            (self.gt is None or value > self.gt)
            and (self.gte is None or value >= self.gte)
            and (self.lt is None or value < self.lt)
            and (self.lte is None or value <= self.lte)
        )


@dataclass(frozen=True, slots=True)
class And:
    """All of them hold; without any, everything."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of them holds; without any, nothing."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold."""

    part: Filter


Condition: TypeAlias = In | Exists | Range
Filter: TypeAlias = In | Exists | Range | And | Or | Not

EVERYTHING, NOTHING = And(()), Or(())


def matches(where: Filter, stored: terms.Terms) -> bool:
    """Whether a filter lets a document through, by what is stored of it."""
    return matcher(where)(stored)


def matcher(where: Filter) -> Callable[[terms.Terms], bool]:
    """`matches` for many documents: the words and names that the filter asks for are worked out once."""
    match where:
        case In() | Exists():
            words = frozenset(where.terms)
            return lambda stored: not words.isdisjoint(stored.words)
        case Range():
            key = where.key
            return lambda stored: any(where.holds(value) for value in stored.numbers.get(key, ()))
        case And():
            every = [matcher(part) for part in where.parts]
            return lambda stored: all(part(stored) for part in every)
        case Or():
            either = [matcher(part) for part in where.parts]
            return lambda stored: any(part(stored) for part in either)
        case Not():
            denied = matcher(where.part)
            return lambda stored: not denied(stored)


def conditions(where: Filter) -> Iterator[Condition]:
    match where:
        case And() | Or():
            for part in where.parts:
                yield from conditions(part)
        case Not():
            yield from conditions(where.part)
        case _:
            yield where


def within(where: Filter, tenant: str, collection: str) -> Filter:
    """The filter with conditions on `tenant` and `collection` decided: a search is within one of each."""
    match where:
        case In(field="tenant"):
            return EVERYTHING if tenant in where.values else NOTHING
        case In(field="collection"):
            return EVERYTHING if collection in where.values else NOTHING
        case Exists(field="tenant" | "collection"):
            return EVERYTHING
        case And():
            return And(tuple(within(part, tenant, collection) for part in where.parts))
        case Or():
            return Or(tuple(within(part, tenant, collection) for part in where.parts))
        case Not():
            return Not(within(where.part, tenant, collection))
        case _:
            return where


def refuse_unknown(where: Filter, known: Collection[str]) -> None:
    """Raises FilterError for a field that no document of the collection has ever had: most likely a typo."""
    for name in (condition.field for condition in conditions(where)):
        if name not in known and name not in OF_EVERY_DOCUMENT:
            there = {*known, *OF_EVERY_DOCUMENT}
            near = [one for one in there if one.casefold() == name.casefold() or one.startswith(f"{name}.")]
            near = sorted(near) or get_close_matches(name, there, n=3)
            hint = f"near it are: {', '.join(near)}" if near else f"fields are: {', '.join(sorted(there)[:20])}"
            raise FilterError(f"no document has a field {name!r}", hint=hint)


# --- JSON -------------------------------------------------------------------------------------------------------


def from_json(value: Any) -> Filter:
    """A filter from JSON. Raises FilterError.

    `{"and": […]}`, `{"or": […]}`, `{"not": …}`, or a condition: `{"field": name}` with one of `"eq": value`,
    `"in": [values]`, `"exists": true`, or bounds `"gt"`, `"gte"`, `"lt"`, `"lte"`: numbers or ISO 8601 dates.
    """
    return _from_json(value, 0)


def _from_json(value: Any, depth: int) -> Filter:
    if depth > DEEPEST:
        raise FilterError(f"a filter is at most {DEEPEST} conditions deep")
    match value:
        case {"and": list(parts), **rest} if not rest:
            return And(tuple(_from_json(part, depth + 1) for part in parts))
        case {"or": list(parts), **rest} if not rest:
            return Or(tuple(_from_json(part, depth + 1) for part in parts))
        case {"not": part, **rest} if not rest:
            return Not(_from_json(part, depth + 1))
        case {"field": str(name), **rest}:
            return condition(name, {str(operator): value for operator, value in rest.items()})
    raise FilterError(
        f"this is no filter: {_shown(value)}",
        hint='write {"field": "tags", "eq": "python"}, or and, or, not of such',
    )


def condition(name: str, operators: dict[str, Any]) -> Filter:
    """One condition by its operators, as JSON has them. Raises FilterError."""
    name = canonical(name)
    match operators:
        case {"eq": value, **rest} if not rest:
            return In(name, (_scalar(name, value),))
        case {"in": list(values), **rest} if not rest:
            return In(name, _scalars(name, values))
        case {"exists": True, **rest} if not rest:
            return Exists(name)
        case {"exists": False, **rest} if not rest:
            return Not(Exists(name))
    if operators and operators.keys() <= {"gt", "gte", "lt", "lte"}:
        return _range(name, operators)
    raise FilterError(
        f"the condition on {name!r} is not understood: {_shown(operators)}", hint="eq, in, exists, or gt, gte, lt, lte"
    )


def canonical(name: str) -> str:
    """A field's name: what metadata calls `author` may be written metadata.author, where the plain name is taken."""
    if not name:
        raise FilterError("a field needs a name")
    plain = name.removeprefix("metadata.")
    return name if plain in OF_EVERY_DOCUMENT else plain


_BOUNDS = "bounds are all numbers or all ISO 8601 dates"


def _range(name: str, operators: dict[str, Any]) -> Range:
    dates = any(isinstance(value, str) for value in operators.values())
    bounds = {operator: _bound(name, value, dates=dates) for operator, value in operators.items()}
    return Range(name, dates, **bounds)


def _bound(name: str, value: Any, *, dates: bool) -> float:
    if dates:
        at = terms.moment(value) if isinstance(value, str) else None
        if at is None:
            raise FilterError(f"{name!r} is compared with {_shown(value)}", hint=_BOUNDS)
        return at
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < terms.HUGE:
        raise FilterError(f"{name!r} is compared with {_shown(value)}", hint=_BOUNDS)
    return float(value)


def _scalars(name: str, values: Sequence[Any]) -> tuple[Scalar, ...]:
    if len(values) > MOST:
        raise FilterError(f"the condition on {name!r} names {len(values)} values", hint=f"{MOST} are the most")
    return tuple(_scalar(name, value) for value in values)


def _scalar(name: str, value: Any) -> Scalar:
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        raise FilterError(f"{name!r} is compared with {_shown(value)}", hint="numbers are finite, up to 1.8e308")
    if not isinstance(value, str | int | float | bool):
        raise FilterError(
            f"{name!r} is compared with {_shown(value)}", hint="values are strings, numbers, true or false"
        )
    return value


def _shown(value: Any) -> str:
    """A value in a message: its beginning, if it can be written at all."""
    try:
        return repr(value)[:200]
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists in lists in lists
        return f"a {type(value).__name__} too long to be shown"
