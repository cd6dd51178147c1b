"""What the one small file state.json says of an index folder: its meaning changes by replacing that file alone."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from ragstone.index import lexical

logger = logging.getLogger(__name__)

LAYOUT = f"2; {lexical.SIGNATURE}"
"""An index of another layout is rebuilt."""

STATE = "state.json"
STAGING = "snapshot-"
"""Begins the name of a folder in which a snapshot is being made."""


@dataclass(slots=True, kw_only=True)
class Space:
    """One vector space."""

    folder: str
    dimensions: int
    changed: int = 0  # points written, documents and points deleted since the graph was built
    numbers: list[str] = field(default_factory=list)  # the first number keys that were seen: each has an index, or soon


@dataclass(slots=True, kw_only=True)
class State:
    layout: str = LAYOUT
    source: str = ""
    position: int = 0
    spaces: dict[str, Space] = field(default_factory=dict)


def to_json(state: State) -> dict[str, Any]:
    return asdict(state)


def from_json(values: dict[str, Any]) -> State:
    """Raises TypeError, KeyError, ValueError or AttributeError when that is no state of this layout."""
    spaces = {name: Space(**space) for name, space in values["spaces"].items()}
    state = State(**{**values, "spaces": spaces})
    if state.layout != LAYOUT:
        raise ValueError(f"its layout is {state.layout!r}, not {LAYOUT!r}")
    return state


def read(folder: Path) -> State:
    """An unreadable or foreign state is an empty one."""
    try:
        return from_json(json.loads((folder / STATE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return State()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("state.json cannot be used, the index is rebuilt: %r", error)
        return State()


def write(descriptor: int, state: State) -> None:
    """Into the folder that is open as the descriptor. Durable when it returns; a crash leaves the old or the new."""
    draft = f"{STATE}.new"
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=descriptor)
    with os.fdopen(file, "w", encoding="utf-8") as text:
        json.dump(to_json(state), text)
        text.flush()
        os.fsync(text.fileno())
    os.replace(draft, STATE, src_dir_fd=descriptor, dst_dir_fd=descriptor)
    os.fsync(descriptor)


def sweep(folder: Path, state: State) -> None:
    """Delete the folders that the state does not name."""
    named = {space.folder for space in state.spaces.values()}
    for path in (*folder.glob("shard-*"), *folder.glob(f"{STAGING}*")):
        if path.name not in named:
            shutil.rmtree(path, ignore_errors=True)


def unused_folder(folder: Path) -> Path:
    """For a shard."""
    return folder / f"shard-{uuid4().hex[:8]}"
