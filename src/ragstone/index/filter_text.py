"""Filters as people write them: `tags in ("python", "go") and not source = "wiki" and modified_at >= "2024-01-01"`.

filter     = all ("or" all)*            and binds before or, not before and
all        = one ("and" one)*
one        = "not" one | "(" filter ")" | "exists" "(" field ")" | condition
condition  = field ("=" | "!=" | "<" | "<=" | ">" | ">=") value | field ["not"] "in" "(" value ("," value)* ")"
value      = "text" | 'text' | number | true | false
field      = letters, digits, _ . - | `anything`
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ragstone.errors import FilterError
from ragstone.index.filters import DEEPEST, And, Filter, Not, Or, condition

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<quoted>`[^`]+`)
      | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
      | (?P<sign><=|>=|!=|==|=|<|>|\(|\)|,)
      | (?P<word>[^\W\d][\w.\-]*)
    )""",
    re.VERBOSE,
)
_WHOLE = re.compile(r"[-+]?\d{1,308}")  # a longer one is infinite, as a float, and refused
_BOUNDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_WORDS = frozenset(("and", "or", "not", "in", "exists", "true", "false"))


def parse(text: str) -> Filter:
    """A filter from text. Raises FilterError, which names the place."""
    parser = _Parser(text, _tokens(text))
    where = parser.either(0)
    if parser.here.kind != "end":
        raise parser.wrong("and, or, or the end")
    return where


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def keyword(self) -> str:
        return self.text.lower() if self.kind == "word" and self.text.lower() in _WORDS else ""


def _tokens(text: str) -> list[_Token]:
    tokens, at, end = [], 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise FilterError(f"the filter cannot be read at {text[at:].strip()[:30]!r}", hint=_EXAMPLE)
        tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
        at = found.end()
    return [*tokens, _Token("end", "", end)]


_EXAMPLE = """for example: tags in ("python", "go") and not source = "wiki" and year >= 2020"""


class _Parser:
    """Recursive descent: one method a rule."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._next = 0

    @property
    def here(self) -> _Token:
        return self._tokens[self._next]

    def either(self, depth: int) -> Filter:
        parts = [self._all(depth)]
        while self._take_keyword("or"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self, depth: int) -> Filter:
        parts = [self._one(depth)]
        while self._take_keyword("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self, depth: int) -> Filter:
        if depth > DEEPEST:
            raise FilterError(f"a filter is at most {DEEPEST} conditions deep")
        if self._take_keyword("not"):
            return Not(self._one(depth + 1))
        if self._take_sign("("):
            where = self.either(depth + 1)
            self._expect(")")
            return where
        if self._take_keyword("exists"):
            self._expect("(")
            where = condition(self._field(), {"exists": True})
            self._expect(")")
            return where
        return self._condition()

    def _condition(self) -> Filter:
        name = self._field()
        negated = self._take_keyword("not")
        if self._take_keyword("in"):
            where = condition(name, {"in": self._values()})
            return Not(where) if negated else where
        sign = self._take()
        if negated or sign.kind != "sign" or sign.text not in {"=", "==", "!=", *_BOUNDS}:
            self._next -= 1
            raise self.wrong("in" if negated else "=, !=, <, <=, >, >= or in")
        if sign.text in _BOUNDS:
            return condition(name, {_BOUNDS[sign.text]: self._value()})
        where = condition(name, {"eq": self._value()})
        return Not(where) if sign.text == "!=" else where

    def _values(self) -> list[Any]:
        self._expect("(")
        values = [self._value()]
        while self._take_sign(","):
            values.append(self._value())
        self._expect(")")
        return values

    def _value(self) -> str | int | float | bool:
        token = self._take()
        if token.kind == "text":
            return re.sub(r"\\(.)", r"\1", token.text[1:-1])
        if token.kind == "number":
            return int(token.text) if _WHOLE.fullmatch(token.text) else float(token.text)
        if token.keyword in {"true", "false"}:
            return token.keyword == "true"
        self._next -= 1
        raise self.wrong('a value: "text", a number, true or false')

    def _field(self) -> str:
        token = self._take()
        if token.kind == "quoted":
            return token.text[1:-1]
        if token.kind == "word" and not token.keyword:
            return token.text
        self._next -= 1
        raise self.wrong("a field")

    def _take(self) -> _Token:
        token = self.here
        self._next += 1
        return token

    def _take_keyword(self, word: str) -> bool:
        taken = self.here.keyword == word
        self._next += taken
        return taken

    def _take_sign(self, sign: str) -> bool:
        taken = self.here.kind == "sign" and self.here.text == sign
        self._next += taken
        return taken

    def _expect(self, sign: str) -> None:
        if not self._take_sign(sign):
            raise self.wrong(f"{sign!r}")

    def wrong(self, wanted: str) -> FilterError:
        found = f"{self.here.text[:30]!r} at {self.here.at + 1}" if self.here.text else "the end"
        return FilterError(f"the filter cannot be read: {wanted} is wanted, not {found}", hint=_EXAMPLE)
