"""What filters mean, by a second evaluation on the fields themselves; how they are read from JSON and decided."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.filters import DATES, FIELDS, FILTERS
from ragstone.errors import FilterError
from ragstone.index.filters import (
    DEEPEST,
    EVERYTHING,
    MOST,
    And,
    Condition,
    Exists,
    Filter,
    In,
    Not,
    Or,
    Range,
    canonical,
    conditions,
    from_json,
    matches,
    refuse_unknown,
    within,
)
from ragstone.index.terms import terms
from ragstone.models import Fields, Scalar


def meant(where: Filter, fields: Fields) -> bool:
    """What a filter means, without words and numbers."""
    match where:
        case And():
            return all(meant(part, fields) for part in where.parts)
        case Or():
            return any(meant(part, fields) for part in where.parts)
        case Not():
            return not meant(where.part, fields)
        case _:
            return any(_meets(where, value) for value in fields.get(where.field, ()))


def _meets(where: Condition, value: Scalar) -> bool:
    match where:
        case In():
            return any(_kind(value) is _kind(each) and value == each for each in where.values)
        case Exists():
            return True
        case Range(dates=True):
            return value in DATES and isinstance(value, str) and _inside(where, DATES[value])
        case Range():
            return _kind(value) is float and abs(float(value)) < 1e300 and _inside(where, float(value))


def _kind(value: Scalar) -> type:
    return float if type(value) is int else type(value)


def _inside(where: Range, value: float) -> bool:
    low, high = where.gte, where.lte
    return (
        (math.inf if where.lt is None else where.lt) > value > (-math.inf if where.gt is None else where.gt)
        and (low is None or low <= value)
        and (high is None or high >= value)
    )


@given(FILTERS, FIELDS)
@example(In("year", (1,)), {"year": (True,)})
@example(In("year", (2,)), {"year": (2.0,)})
@example(In("tags", ("1",)), {"tags": (1,)})
@example(Exists("nobody has"), {"tags": ("python",)})
@example(Range("year"), {"year": (True, "2020")})
@example(Range("year", gt=2, lt=3), {"year": (1, 4)})
@example(Range("year", gt=2), {"year": (2,)})
@example(Range("year", lt=2), {"year": (2,)})
@example(Range("year", gte=2, lte=2), {"year": (2,)})
def test_a_filter_means_what_it_says_of_the_fields(where: Filter, fields: Fields) -> None:
    assert matches(where, terms(fields)) == meant(where, fields)


@given(FILTERS, FIELDS)
def test_exactly_one_of_a_filter_and_its_negation_holds(where: Filter, fields: Fields) -> None:
    assert matches(where, terms(fields)) != matches(Not(where), terms(fields))


def test_without_parts_and_is_everything_and_or_nothing() -> None:
    assert matches(And(()), terms({}))
    assert not matches(Or(()), terms({"tags": ("python",)}))


@given(FILTERS)
def test_the_conditions_are_the_leaves(where: Filter) -> None:
    assert len(list(conditions(where))) == sum(
        repr(where).count(f"{kind}(field=") for kind in ("In", "Exists", "Range")
    )


# --- tenant and collection ------------------------------------------------------------------------------------------

OWN = st.sampled_from(("tenant", "collection"))
DECIDED = st.recursive(
    FILTERS | st.builds(Exists, OWN) | st.builds(In, OWN, st.lists(st.sampled_from("abc"), max_size=2).map(tuple)),
    lambda parts: (
        st.builds(And, st.tuples(parts, parts)) | st.builds(Or, st.tuples(parts, parts)) | st.builds(Not, parts)
    ),
    max_leaves=4,
)


@given(DECIDED, FIELDS)
def test_tenant_and_collection_are_those_of_the_search(where: Filter, fields: Fields) -> None:
    decided = within(where, "a", "b")
    assert matches(decided, terms(fields)) == meant(where, {**fields, "tenant": ("a",), "collection": ("b",)})
    assert not {"tenant", "collection"} & {condition.field for condition in conditions(decided)}


def test_metadata_called_tenant_is_another_field() -> None:
    where = from_json({"field": "metadata.tenant", "eq": "a"})
    assert within(where, "a", "b") == where


# --- unknown fields -------------------------------------------------------------------------------------------------


def test_an_unknown_field_is_refused_with_those_that_are_near() -> None:
    with pytest.raises(FilterError, match="'autor'") as caught:
        refuse_unknown(Not(Or((Exists("tags"), And((Exists("autor"),))))), {"author", "tags"})
    assert "author" in caught.value.hint


def test_where_none_is_near_all_are_named() -> None:
    with pytest.raises(FilterError) as caught:
        refuse_unknown(Exists("zzz"), {"author"})
    assert "author" in caught.value.hint
    assert "modified_at" in caught.value.hint


@pytest.mark.parametrize("name", ["author", "tenant", "collection", "source", "modified_at", "sample"])
def test_known_fields_and_those_of_every_document_are_taken(name: str) -> None:
    refuse_unknown(Exists(name), {"author"})
    refuse_unknown(EVERYTHING, {"author"})


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("author", "author"),
        ("metadata.author", "author"),
        ("metadata.source", "metadata.source"),
        ("source", "source"),
        ("metadata.metadata.author", "metadata.author"),
        ("a.b", "a.b"),
        ("metadatum.x", "metadatum.x"),
    ],
)
def test_metadata_may_be_asked_for_by_its_full_name(written: str, name: str) -> None:
    assert canonical(written) == name
    assert from_json({"field": written, "exists": True}) == Exists(name)


# --- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"field": "tags", "eq": "python"}, In("tags", ("python",))),
        ({"field": "tags", "in": ["a", 1, True, 2.5]}, In("tags", ("a", 1, True, 2.5))),
        ({"field": "tags", "in": []}, In("tags", ())),
        ({"field": "tags", "exists": True}, Exists("tags")),
        ({"field": "tags", "exists": False}, Not(Exists("tags"))),
        ({"field": "year", "gte": 2020, "lt": 2022.5}, Range("year", gte=2020.0, lt=2022.5)),
        ({"field": "at", "gt": "2024-01-01"}, Range("at", dates=True, gt=DATES["2024-01-01"])),
        ({"field": "at", "lte": "2024-01-01T02:00:00+02:00"}, Range("at", dates=True, lte=DATES["2024-01-01"])),
        ({"and": []}, And(())),
        ({"or": [{"not": {"field": "a", "eq": 1}}]}, Or((Not(In("a", (1,))),))),
    ],
)
def test_json_is_read(value: Any, where: Filter) -> None:
    assert from_json(value) == where


def nested(depth: int) -> Any:
    return {"field": "a", "eq": 1} if depth == 0 else {"not": nested(depth - 1)}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "no filter: None"),
        ([], "no filter"),
        ({}, "no filter"),
        ({"and": {}}, "no filter"),
        ({"and": [], "or": []}, "no filter"),
        ({"not": {"field": "a", "eq": 1}, "and": []}, "no filter"),
        ({"nand": []}, "nand"),
        ({"field": 3, "eq": 1}, "no filter"),
        ({"field": "", "eq": 1}, "name"),
        ({"field": "a"}, "'a' is not understood"),
        ({"field": "a", "eq": 1, "gt": 2}, "'a' is not understood"),
        ({"field": "a", "equals": 1}, "equals"),
        ({"field": "a", "in": "python"}, "'a' is not understood"),
        ({"field": "a", "exists": 1}, "'a' is not understood"),
        ({"field": "a", "eq": None}, "'a' is compared with None"),
        ({"field": "a", "eq": ["x"]}, "'a' is compared"),
        ({"field": "a", "eq": math.nan}, "'a' is compared with nan"),
        ({"field": "a", "in": [1, {}]}, "'a' is compared with {}"),
        ({"field": "a", "in": ["x"] * (MOST + 1)}, f"{MOST + 1} values"),
        ({"field": "a", "gt": True}, "'a' is compared with True"),
        ({"field": "a", "gt": math.inf}, "'a' is compared with inf"),
        ({"field": "a", "gt": None}, "'a' is compared with None"),
        ({"field": "a", "gt": "yesterday"}, "'a' is compared with 'yesterday'"),
        ({"field": "a", "gt": "2024-01-01", "lt": 3}, "'a' is compared with 3"),
        (nested(DEEPEST + 1), f"{DEEPEST} conditions deep"),
    ],
)
def test_what_is_no_filter_is_refused(value: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        from_json(value)


def test_numbers_too_long_to_be_written_are_refused() -> None:
    huge = 10**5000
    for value in ({"field": "a", "eq": huge}, {"field": "a", "in": [huge]}, {"field": "a", "gt": huge}, huge):
        with pytest.raises(FilterError):
            from_json(value)


def test_the_deepest_filter_is_not_too_deep() -> None:
    assert matches(from_json(nested(DEEPEST)), terms({"a": (1,)}))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([*DATES]),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.sampled_from(("and", "or", "not", "field", "eq", "in", "exists", "gt", "gte", "lt", "lte")),
            values,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(ANY_JSON, FIELDS)
def test_any_json_is_a_filter_or_a_filter_error(value: Any, fields: Fields) -> None:
    try:
        where = from_json(value)
    except FilterError:
        return
    assert matches(where, terms(fields)) == meant(where, fields)


def test_a_message_does_not_repeat_a_whole_book() -> None:
    for value in ("x" * 10**6, {"field": "a", "eq": ["x" * 10**6]}, {"field": "a", "gt": "x" * 10**6}):
        with pytest.raises(FilterError) as caught:
            from_json(value)
        assert len(str(caught.value)) < 1000
