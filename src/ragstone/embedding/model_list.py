"""The list of known models, read from models.toml beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ragstone.embedding.base import Lane

Pooling = Literal["mean", "cls"]

_data = files(__package__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """Files that a published package ships: which ones, and the SHA-256 each must have."""

    model: str  # what people call it: the name for `ragstone models pull`
    name: str
    version: str
    folder: str  # where in the package the files are
    files: Mapping[str, str]  # path under `folder` → SHA-256, hexadecimal
    megabytes: int  # to download


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Files that a model hub serves under an id."""

    model: str
    id: str  # owner/name
    revision: str  # a commit; a tag or branch may move, but what was pulled stays
    files: Mapping[str, str] = field(default_factory=dict)  # path → SHA-256, of those that are known beforehand
    megabytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Files that somebody put somewhere."""

    model: str  # the path as text
    path: Path


Origin: TypeAlias = Package | Hub | Folder


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A model that runs in this process."""

    name: str
    dimensions: int
    max_tokens: int  # special tokens counted
    pooling: Pooling
    query_prefix: str
    document_prefix: str
    licence: str  # SPDX; empty where it is not known
    files_from: Origin
    ranges: str | None = None  # the file in ranges/ that a calibration run left

    def prefix(self, lane: Lane) -> str:
        return self.query_prefix if lane == "query" else self.document_prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model behind an OpenAI-compatible endpoint."""

    name: str
    dimensions: int
    max_tokens: int
    price: float  # US dollars for a million tokens


@cache
def local_models() -> tuple[LocalModel, ...]:
    return tuple(_local(entry) for entry in _read()["local"])


@cache
def remote_models() -> tuple[RemoteModel, ...]:
    return tuple(RemoteModel(**entry) for entry in _read()["remote"])


def local_model(name: str) -> LocalModel | None:
    """The local model of that name, in any letter case, if it is listed."""
    return next((model for model in local_models() if model.name.lower() == name.lower()), None)


def remote_model(name: str) -> RemoteModel | None:
    """The remote model of that name, if it is listed."""
    return next((model for model in remote_models() if model.name == name), None)


def ranges_of(model: LocalModel) -> bytes:
    """What the calibration run left, in NumPy's npz format; empty without one."""
    return _data.joinpath("ranges", model.ranges).read_bytes() if model.ranges else b""


def _local(entry: Mapping[str, Any]) -> LocalModel:
    fields = {name: value for name, value in entry.items() if name not in {"package", "hub"}}
    name = entry["name"]
    files_from = Package(model=name, **entry["package"]) if "package" in entry else Hub(model=name, **entry["hub"])
    return LocalModel(**fields, files_from=files_from)


@cache
def _read() -> Mapping[str, Any]:
    return tomllib.loads(_data.joinpath("models.toml").read_text(encoding="utf-8"))
