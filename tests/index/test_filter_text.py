"""Filters as people write them: what is written is what is meant, and what is not understood is told with its place."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.filters import DATES, FIELDS, NAMES, NUMBERS, VALUES
from ragstone.errors import FilterError
from ragstone.index.filter_text import parse
from ragstone.index.filters import And, Exists, Filter, In, Not, Or, Range, matches
from ragstone.index.terms import terms
from ragstone.models import Fields, Scalar

SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
BOUNDS = st.sampled_from(sorted(SIGNS))

_names = st.sampled_from((*NAMES, "nobody has", "and", "In", "a.b-c"))
# What has a text of its own: an In of something, a Range of one bound.
WRITTEN: st.SearchStrategy[Filter] = st.recursive(
    st.builds(In, _names, st.lists(st.sampled_from(VALUES), min_size=1, max_size=3).map(tuple))
    | st.builds(Exists, _names)
    | st.builds(
        lambda name, sign, bound: Range(name, False, **{sign: float(bound)}),
        _names, BOUNDS, st.sampled_from([number for number in NUMBERS if number < 1e300]),
    )
    | st.builds(
        lambda name, sign, at: Range(name, True, **{sign: at}),
        _names,
        BOUNDS,
        st.sampled_from(sorted(DATES.values())),
    ),
    lambda parts: st.lists(parts, min_size=2, max_size=3).map(lambda several: And(tuple(several)))
    | st.lists(parts, min_size=2, max_size=3).map(lambda several: Or(tuple(several)))
    | st.builds(Not, parts),
    max_leaves=8,
)  # fmt: skip


def written(where: Filter) -> str:
    """A filter as text, with no more brackets than it needs."""
    match where:
        case In(field, (value,)):
            return f"{_name(field)} = {_value(value)}"
        case In(field, values):
            return f"{_name(field)} in ({', '.join(map(_value, values))})"
        case Exists(field):
            return f"exists({_name(field)})"
        case Range():
            (sign,) = (name for name in SIGNS if getattr(where, name) is not None)
            bound: float = getattr(where, sign)
            date = next(date for date, at in DATES.items() if at == bound) if where.dates else bound
            return f"{_name(where.field)} {SIGNS[sign]} {_value(date)}"
        case And():
            return " and ".join(f"({written(p)})" if isinstance(p, Or) else written(p) for p in where.parts)
        case Or():
            return " or ".join(written(part) for part in where.parts)
        case Not():
            return f"not ({written(where.part)})" if isinstance(where.part, And | Or) else f"not {written(where.part)}"


def _name(field: str) -> str:
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", field) and field.lower() not in {"and", "in"}
    return field if plain else f"`{field}`"


def _value(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"' if isinstance(value, str) else repr(value)


@given(WRITTEN, st.lists(FIELDS, min_size=1, max_size=4))
def test_what_is_written_is_what_is_meant(where: Filter, documents: list[Fields]) -> None:
    read = parse(written(where))
    for fields in documents:
        assert matches(read, terms(fields)) == matches(where, terms(fields))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('tags="python"', In("tags", ("python",))),
        ("tags == 'it'", In("tags", ("it",))),
        (r"""tags = 'it\'s "so" \\ \n'""", In("tags", ('it\'s "so" \\ n',))),
        ("year != 3", Not(In("year", (3,)))),
        ("a IN (1, -2.5, +3, .5, 1e3, TRUE, False)", In("a", (1, -2.5, 3, 0.5, 1000.0, True, False))),
        ("a not in (1)", Not(In("a", (1,)))),
        ("not a in (1)", Not(In("a", (1,)))),
        ("exists(a.b-c)", Exists("a.b-c")),
        ("EXISTS ( `a b` )", Exists("a b")),
        ("größe >= 2", Range("größe", gte=2.0)),
        ("a > 1 and a <= 2", And((Range("a", gt=1.0), Range("a", lte=2.0)))),
        ("at < '2024-01-01'", Range("at", dates=True, lt=DATES["2024-01-01"])),
        ("metadata.author = 'x'", In("author", ("x",))),
        ("metadata.source = 'x'", In("metadata.source", ("x",))),
        ("`metadata.source` = 'x'", In("metadata.source", ("x",))),
        ("a=1 or b=2 and c=3", Or((In("a", (1,)), And((In("b", (2,)), In("c", (3,))))))),
        ("(a=1 or b=2) and c=3", And((Or((In("a", (1,)), In("b", (2,)))), In("c", (3,))))),
        ("not a=1 and b=2", And((Not(In("a", (1,))), In("b", (2,))))),
        ("not not (((a=1)))\n\t", Not(Not(In("a", (1,))))),
        ("android = 1 or notes = 2", Or((In("android", (1,)), In("notes", (2,))))),
        ("`not` = 1", In("not", (1,))),
    ],
)
def test_filters_are_read(text: str, where: Filter) -> None:
    assert parse(text) == where


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a field is wanted, not the end"),
        ("  \n", "a field is wanted, not the end"),
        ("a", "=, !=, <, <=, >, >= or in is wanted, not the end"),
        ("a =", "a value.* is wanted, not the end"),
        ("a = b", r"a value.*not 'b' at 5"),
        ("a = 1 b = 2", "and, or, or the end is wanted, not 'b' at 7"),
        ("a = 1 and", "a field is wanted, not the end"),
        ("and = 1", "a field is wanted, not 'and' at 1"),
        ("a = 1)", r"and, or, or the end is wanted, not '\)' at 6"),
        ("(a = 1", r"'\)' is wanted, not the end"),
        ("a in ()", r"a value.*not '\)' at 7"),
        ("a in (1,)", r"a value.*not '\)' at 9"),
        ("a in 1", r"'\(' is wanted, not '1' at 6"),
        ("a not = 1", "in is wanted, not '=' at 7"),
        ("exists a", r"'\(' is wanted, not 'a' at 8"),
        ("exists('a')", "a field is wanted, not \"'a'\" at 8"),
        ("1 = 1", "a field is wanted, not '1' at 1"),
        ("a = 'open", 'at "\'open"'),
        ("a = 1x", "at '1x'"),
        ("a ~ 'x'", "at \"~ 'x'\""),
        ("a > true", "'a' is compared with True"),
        ("a > 'soon'", "'a' is compared with 'soon'"),
        ("a = 1e999", "'a' is compared with inf"),
        ("a = 1 and ``", "at '``'"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        parse(text)


def test_what_is_too_long_or_too_deep_is_refused_briefly() -> None:
    nines, deep = "9" * 5000, "(" * 5000 + "a = 1" + ")" * 5000
    for text in (
        f"a = {nines}",
        f"a > {nines}",
        "not " * 60 + "a = 1",
        deep,
        f"a > '{nines}'",
        f"{nines}y",
        f"a = {nines}y",
    ):
        with pytest.raises(FilterError) as caught:
            parse(text)
        assert len(str(caught.value)) < 1000


def test_a_long_chain_is_not_deep() -> None:
    where = parse(" or ".join(f"year = {year}" for year in range(3000)))
    assert matches(where, terms({"year": (2999,)}))
    assert not matches(where, terms({"year": (3000,)}))


PIECES = st.sampled_from(
    ["a", "`b c`", "and", "or", "not", "in", "exists", "(", ")", ",", "=", "!=", "<", ">=", "1", "-2.5", "1e400", "'x'",
     '"2024-01-01"', "true", "metadata.", "\\", "'", "`", "٣", "é", "\ud800", "\x00"]
)  # fmt: skip


@given(st.text() | st.lists(PIECES, max_size=12).map(" ".join) | st.lists(PIECES, max_size=12).map("".join))
@example("a = '\\\n'")
@example("exists(metadata.)")
def test_any_text_is_a_filter_or_a_filter_error(text: str) -> None:
    try:
        where = parse(text)
    except FilterError:
        return
    matches(where, terms({"a": (1, "x")}))
