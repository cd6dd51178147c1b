"""Which paths below a folder are meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate


class Globs:
    """Patterns over paths relative to a folder, with `/` between names on every system.

    `*` and `?` stay within one name, `**` crosses names. A pattern without `/` is meant at any depth, and a pattern
    that matches a folder matches all that is in it.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._expressions = [re.compile(_expression(pattern)) for pattern in patterns]

    def __bool__(self) -> bool:
        return bool(self._expressions)

    def match(self, path: str) -> bool:
        return any(expression.fullmatch(path) for expression in self._expressions)


_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
_MEANING = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _expression(pattern: str) -> str:
    path = pattern.strip("/")
    anywhere = "" if "/" in path or pattern.startswith("/") else "(?:.*/)?"
    return anywhere + "".join(map(_translated, _TOKEN.findall(path))) + "(?:/.*)?"


def _translated(token: str) -> str:
    if len(token) > 2 and token.startswith("["):
        return "(?!/)" + translate(token)[len("(?s:") : -len(r")\Z")]
    return _MEANING.get(token, re.escape(token))
