"""Writes docs/settings.md and docs/commands.md from the code, so that they cannot drift apart: `make docs`."""

from __future__ import annotations

import html
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ragstone.settings import Settings
from ragstone.source_settings import FolderSource, ObjectStoreSource, SqlSource, WebSource

HERE = Path(__file__).parent

SETTINGS_HEAD = """\
# Settings

Made from the code by `make docs`.

Ragstone reads `./ragstone.toml` (or the file after `ragstone --config`), then the environment, which wins.
`ragstone init` writes a file with all of this in it. A name that is not listed here is refused, in the file and in the
environment. In the environment, `RAGSTONE_` comes first, then the table, then the name: `RAGSTONE_INDEX_EF=200` sets
`ef` of `[index]`, `RAGSTONE_DATABASE_URL` the catalog's address. Relative paths in the file are meant from its folder.

What a change of a setting costs stands in [tuning.md](tuning.md).
"""

COMMANDS_HEAD = """\
# Commands

Made from the code by `make docs`. `ragstone --help` and `ragstone COMMAND --help` show the same.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 the documents do not hold the answer (`ask`), 4 documents were skipped
(`index --strict`), 130 interrupted. Errors go to standard error with what to do about them; with `--json`, standard
output carries JSON alone.
"""


def settings_page() -> str:
    tables = {name: field for name, field in Settings.model_fields.items() if isinstance(field.default, BaseModel)}
    plain = {n: f for n, f in Settings.model_fields.items() if n not in tables and n != "sources"}
    parts = [SETTINGS_HEAD, "## At the top of the file\n", _table(plain)]
    for name, field in tables.items():
        parts += [f"## [{name}]\n", f"{type(field.default).__doc__}\n", _table(type(field.default).model_fields)]
    for source in (FolderSource, WebSource, ObjectStoreSource, SqlSource):
        parts += [f'## [sources.NAME] with kind = "{source.model_fields["kind"].default}"\n', f"{source.__doc__}\n"]
        parts += [_table({n: f for n, f in source.model_fields.items() if n != "kind"})]
    return "\n".join(parts)


def _table(fields: dict[str, FieldInfo]) -> str:
    rows = [f"| `{name}` | {_default(field)} | {field.description or ''} |" for name, field in fields.items()]
    return "\n".join(["| setting | default | meaning |", "| --- | --- | --- |", *rows]) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    return "" if field.default in (None, ()) else f"`{field.default}`"


def commands_page() -> str:
    command = [sys.executable, "-m", "typer", "ragstone.cli.main", "utils", "docs", "--name", "ragstone"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return COMMANDS_HEAD + "\n" + html.unescape(listed.partition("\n")[2].strip()) + "\n"


def main() -> None:
    (HERE / "settings.md").write_text(settings_page(), encoding="utf-8")
    (HERE / "commands.md").write_text(commands_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
