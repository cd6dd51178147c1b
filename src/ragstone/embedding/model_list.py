"""The list of known models, read from models.toml beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from ragstone.embedding.base import Lane
from ragstone.errors import SettingsError

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
class LocalModel:
    """A model that runs in this process."""

    name: str
    dimensions: int
    max_tokens: int  # special tokens counted
    pooling: Pooling
    query_prefix: str
    document_prefix: str
    licence: str  # SPDX
    origin: str  # who trained it: owner/name
    package: Package
    ranges: str | None = None  # the file in ranges/ that a calibration run left

    def prefix(self, lane: Lane) -> str:
        return self.query_prefix if lane == "query" else self.document_prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model behind an OpenAI-compatible endpoint."""

    name: str
    dimensions: int
    max_tokens: int


@cache
def local_models() -> tuple[LocalModel, ...]:
    return tuple(_local(entry) for entry in _read()["local"])


@cache
def remote_models() -> tuple[RemoteModel, ...]:
    return tuple(RemoteModel(**entry) for entry in _read()["remote"])


def local_model(name: str) -> LocalModel:
    """The local model of that name, in any letter case. Raises SettingsError."""
    for model in local_models():
        if model.name.lower() == name.lower():
            return model
    known = ", ".join(model.name for model in local_models())
    raise SettingsError(f"no local embedding model is called {name}", hint=f"known: {known}")


def remote_model(name: str) -> RemoteModel | None:
    """The remote model of that name, if it is listed."""
    return next((model for model in remote_models() if model.name == name), None)


def ranges_of(model: LocalModel) -> bytes:
    """What the calibration run left, in NumPy's npz format; empty without one."""
    return _data.joinpath("ranges", model.ranges).read_bytes() if model.ranges else b""


def _local(entry: Mapping[str, Any]) -> LocalModel:
    package = Package(model=entry["name"], **entry["package"])
    return LocalModel(**{**entry, "package": package})


@cache
def _read() -> Mapping[str, Any]:
    return tomllib.loads(_data.joinpath("models.toml").read_text(encoding="utf-8"))
