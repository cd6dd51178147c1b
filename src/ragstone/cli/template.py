"""The commented ragstone.toml, made from the settings themselves so that the two cannot differ."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ragstone.settings import Settings

SOURCES = """\
# Where documents come from. `ragstone index` brings all of them up to date.
#
# [sources.handbook]
# kind = "folder"
# path = "docs"
# exclude = ["drafts/**"]
#
# [sources.site]
# kind = "web"
# sitemaps = ["https://www.example.com/sitemap.xml"]
# include = ["docs/**"]
#
# [sources.exports]
# kind = "object-store"
# url = "s3://bucket/exports"
# region = "eu-west-1"
#
# [sources.products]
# kind = "sql"
# url = "sqlite:///products.db"
# table = "products"
# key = "id"
# title = "name"
# text = ["description"]
# metadata = ["price"]
# version = "updated_at"
"""


def settings_file() -> str:
    """A file that changes nothing until a line of it is uncommented (and, where it is unset, filled in)."""
    top = [
        _line(name, field) for name, field in Settings.model_fields.items() if not _table(field) and name != "sources"
    ]
    tables = [
        f"[{name}]\n# {(type(field.default).__doc__ or '').strip().splitlines()[0]}\n"
        + "".join(_line(key, inner) for key, inner in type(field.default).model_fields.items())
        for name, field in Settings.model_fields.items()
        if _table(field)
    ]
    return "\n".join(["".join(top), *tables, SOURCES])


def _table(field: FieldInfo) -> bool:
    return isinstance(field.default, BaseModel)


def _line(name: str, field: FieldInfo) -> str:
    """A setting without a default has nothing after its `=`: uncommented, it must be filled in."""
    if field.default is None:
        return f"# {name} =   # unset; {field.description}\n"
    meaning = f"  # {field.description}" if field.description else ""
    return f"# {name} = {_toml(field.default)}{meaning}\n"


def _toml(value: object) -> str:
    """A default as TOML writes it; the few kinds that settings have."""
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
