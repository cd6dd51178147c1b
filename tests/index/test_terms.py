"""Fields as words and numbers: what is one and what is not, whatever a field is called."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.filters import DATES, FIELDS
from ragstone.index.terms import LONGEST, equals, has, moment, moment_key, number_key, terms
from ragstone.models import Fields, Scalar

SCALARS = st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()


@given(st.text(), SCALARS, st.text(), SCALARS)
@example("a", 2, "a", 2.0)
@example("a", 1, "a", True)
@example("a", 0, "a", False)
@example("a", "1", "a", 1)
@example("a", "true", "a", True)
@example("a", 0.0, "a", -0.0)
@example("a", 10**20, "a", 1e20)
@example("a", 2**53 + 1, "a", 2.0**53)
@example("a", "x" * LONGEST, "a", "x" * (LONGEST + 1))
@example("a", "x" * LONGEST + "y", "a", "x" * LONGEST + "z")
@example("a", "x" * 300, "b", "x" * 300)
@example('a","b', "c", "a", 'b","c')
def test_a_word_is_that_of_a_name_and_value_alone(name: str, value: Scalar, other: str, another: Scalar) -> None:
    same = name == other and value == another and _kind(value) is _kind(another)
    assert (equals(name, value) == equals(other, another)) == same
    assert has(name) != equals(other, another)
    assert (has(name) == has(other)) == (name == other)


def _kind(value: Scalar) -> type:
    return float if type(value) is int else type(value)


@given(st.text() | st.just("é" * 500), SCALARS | st.just("é" * 10_000))
def test_a_word_is_short_and_ascii(name: str, value: Scalar) -> None:
    """A value takes at most 12 characters for each of its own: an astral one is two escapes."""
    word = equals(name, value)
    assert word.isascii()
    assert len(word) < 12 * (len(name) + LONGEST) + 350


@given(FIELDS)
def test_the_words_of_a_document_are_those_of_its_values(fields: Fields) -> None:
    stored = terms(fields)
    assert list(stored.words) == sorted(set(stored.words))
    wanted = {equals(name, value) for name, values in fields.items() for value in values}
    assert set(stored.words) == wanted | {has(name) for name in fields}


def test_numbers_and_moments_are_kept_apart_sorted_and_once() -> None:
    stored = terms({"year": (2024, 2.5, 2024.0, "2024", "2024-01-01", True, 1e308, 10**400), "tags": ("a",)})
    assert stored.numbers == {"n_year": [2.5, 2024.0], "d_year": [DATES["2024-01-01"]]}


def test_without_fields_there_is_nothing() -> None:
    assert (terms({}).words, terms({}).numbers) == ((), {})


@given(st.text(), st.text())
@example("a.b", "a_b")
@example("größe", "grosse")
@example("x" * 60, "x" * 61)
@example("Year", "year")
@example("a\n", "a")
@example("", "_")
def test_names_of_numbers_are_safe_and_their_own(name: str, other: str) -> None:
    for key in (number_key, moment_key):
        for each in (name, other):
            assert re.fullmatch(r"[A-Za-z0-9_]{1,62}", key(each))
        assert (key(name) == key(other)) == (name == other)
    assert number_key(name) != moment_key(other)


@pytest.mark.parametrize(("text", "seconds"), DATES.items())
def test_dates_with_and_without_a_zone_are_moments(text: str, seconds: float) -> None:
    assert moment(text) == seconds


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1000, 1, 1)))
def test_the_moment_of_a_time_as_it_is_stored(at: datetime) -> None:
    assert moment(at.isoformat()) == at.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "", "2024", "20240101", "2024-1-1", "2024-13-01", "2024-02-30", "2024-01-01T25:00", "2024-01-01T", "today",
        " 2024-01-01", "2024-01-01 ", "2024-01-01\n", "2024-W01-1", "2024-01-01T10:00 am", "2024-01-01 at 10:00",
        "٢٠٢٤-٠١-٠١", "10000-01-01",
    ],
)  # fmt: skip
def test_other_texts_are_no_moments(text: str) -> None:
    assert moment(text) is None


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?", fullmatch=True))
@example("0001-01-01T00:00:00+14:00")
@example("9999-12-31T23:59:59-14:00")
def test_any_text_is_a_moment_or_none(text: str) -> None:
    at = moment(text)
    assert at is None or abs(at) < 1e12
