"""Fields and filters to draw: few names and values, so that they meet, and those that a translation trips over."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from ragstone.index.filters import And, Exists, Filter, In, Not, Or, Range
from ragstone.models import Fields, Scalar

NAMES = ("tags", "year", "modified_at", "metadata.source", "größe/年", 'a "b" [c] $%\\', "Tags", "x" * 70)

DATES = {
    "2024-01-01": datetime(2024, 1, 1, tzinfo=UTC).timestamp(),
    "2024-01-01T02:00:00+02:00": datetime(2024, 1, 1, tzinfo=UTC).timestamp(),
    "2024-01-01 00:00:00.25Z": datetime(2024, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC).timestamp(),
    "1969-07-20T20:17:40": datetime(1969, 7, 20, 20, 17, 40, tzinfo=UTC).timestamp(),
}
"""Texts that are moments, and the seconds since 1970 of each."""

NUMBERS = (0, 1, 2, 2.0, -3, 0.1, 2.5, 10**20, -1.5e-7, 1e308)
STRINGS = ("", "1", "true", "python", "Python", "müßig 日本", 'it\'s "so" \\ $x %s {}', "a, b", "é" * 300, "é" * 299)
VALUES: tuple[Scalar, ...] = (*STRINGS, *DATES, *NUMBERS, True, False)

_values = st.sampled_from(VALUES)
_bounds = st.none() | st.sampled_from([number for number in NUMBERS if number < 1e300]).map(float)
_moments = st.none() | st.sampled_from(sorted(DATES.values()))
_names = st.sampled_from((*NAMES, "nobody has"))

FIELDS: st.SearchStrategy[Fields] = st.dictionaries(
    st.sampled_from(NAMES), st.lists(_values, min_size=1, max_size=4).map(tuple), max_size=5
)

_conditions: st.SearchStrategy[Filter] = st.one_of(
    st.builds(In, _names, st.lists(_values, max_size=4).map(tuple)),
    st.builds(Exists, _names),
    st.builds(Range, _names, st.just(False), _bounds, _bounds, _bounds, _bounds),
    st.builds(Range, _names, st.just(True), _moments, _moments, _moments, _moments),
)


def _joined(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(parts, max_size=3).map(tuple)
    return st.builds(And, several) | st.builds(Or, several) | st.builds(Not, parts)


FILTERS: st.SearchStrategy[Filter] = st.recursive(_conditions, _joined, max_leaves=6)
