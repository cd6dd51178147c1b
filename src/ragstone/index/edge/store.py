"""The index folder: its shards, and the one small file that says what they hold.

    state.json   position, source, and which folder is the shard of which vector space
    shard-…/     Qdrant Edge's own files

Replacing state.json is the only step that changes what the folder means, so a crash at any instruction leaves
either the old meaning or the new; folders that it does not name are leftovers and deleted at the next start.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from ragstone.errors import IndexFailure
from ragstone.index import lexical
from ragstone.index.edge.shard import Shard, scope_key
from ragstone.models import Hit, Replacement, Scope

logger = logging.getLogger(__name__)

LAYOUT = f"1; {lexical.SIGNATURE}"
"""An index of another layout is rebuilt."""

SLICE = 100
"""Points written at once: searches wait for no more than that, about 10 ms."""


@dataclass(slots=True, kw_only=True)
class Space:
    """What state.json says of one vector space."""

    folder: str
    changed: int = 0  # points written and documents deleted since the graph was built


@dataclass(slots=True, kw_only=True)
class State:
    layout: str = LAYOUT
    source: str = ""
    position: int = 0
    spaces: dict[str, Space] = field(default_factory=dict)


class Store:
    """The open folder. Blocks like its shards; made durable by `commit` alone."""

    def __init__(self, folder: Path) -> None:
        """Open what is there; what cannot be read is deleted, for the catalog can give it again."""
        self.folder = folder
        # Through the descriptor, a folder that was deleted and made anew cannot be mistaken for this one.
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.state = _read_state(folder)
        self._unflushed: set[str] = set()
        self._sweep()
        try:
            self.shards = {name: Shard.load(folder / space.folder) for name, space in self.state.spaces.items()}
        except IndexFailure as error:
            logger.warning("the index cannot be opened and is rebuilt: %s", error)
            self.shards = {}
            self.reset("")

    def reset(self, source: str) -> None:
        for shard in self.shards.values():
            shard.close()
        self.shards.clear()
        self._unflushed.clear()
        self.state = State(source=source)
        self._write_state()
        self._sweep()

    def write(self, replacements: Sequence[Replacement]) -> Iterator[None]:
        """Carry out replacements a slice at a time; the caller may let searches through between slices.

        New points come first and the old ones go last, so a search meets at least one version of a document.
        """
        newest = {(r.fingerprint, scope_key(r.tenant, r.generation), r.document_id): r for r in replacements}
        removals: dict[tuple[str, str], list[Replacement]] = {}
        for (name, scope, _), replacement in newest.items():
            if self._shard_for(replacement) is not None:
                self._unflushed.add(name)
                yield from self._upsert(scope, replacement)
                removals.setdefault((name, scope), []).append(replacement)
        for (name, scope), group in removals.items():
            kept = [point.chunk_id for replacement in group for point in replacement.points]
            self.shards[name].remove(scope, [replacement.document_id for replacement in group], kept)
            self.state.spaces[name].changed += len(kept) + sum(not replacement.points for replacement in group)
            yield

    def commit(self, position: int) -> None:
        """Make everything written durable, then record the position."""
        for name in self._unflushed:
            self.shards[name].flush()
        self._unflushed.clear()
        self.state.position = position
        self._write_state()

    def search(
        self, scope: Scope, *, vector: npt.NDArray[np.float32] | None, text: str | None, limit: int, ef: int
    ) -> list[Hit]:
        shard = self.shards.get(scope.fingerprint)
        if shard is None:
            return []
        key = scope_key(scope.tenant, scope.generation)
        return shard.search(key, vector=vector, text=text, limit=limit, ef=ef)

    def count(self, scope: Scope) -> int:
        shard = self.shards.get(scope.fingerprint)
        return 0 if shard is None else shard.count(scope_key(scope.tenant, scope.generation))

    def unused_folder(self) -> Path:
        return self.folder / f"shard-{uuid4().hex[:8]}"

    def swap(self, name: str, fresh: Shard, built: int) -> None:
        """Let another folder be the shard of a space from now on, and delete the one that was.

        `built` of the space's changes are in its graph.
        """
        fresh.flush()
        space = self.state.spaces[name]
        space.folder, space.changed = fresh.folder.name, space.changed - built
        self._write_state()
        old, self.shards[name] = self.shards[name], fresh
        old.close()
        shutil.rmtree(old.folder, ignore_errors=True)
        logger.info("%s serves the space %.12s, its graphs built", fresh.folder.name, name)

    def close(self) -> None:
        for shard in self.shards.values():
            shard.close()
        os.close(self._descriptor)

    def _shard_for(self, replacement: Replacement) -> Shard | None:
        """The shard that a replacement belongs into; none is made for a document that is gone."""
        name = replacement.fingerprint
        if name not in self.shards and replacement.points:
            folder = self.unused_folder()
            self.shards[name] = Shard.create(folder, replacement.dimensions)
            self.state.spaces[name] = Space(folder=folder.name)
        return self.shards.get(name)

    def _upsert(self, scope: str, replacement: Replacement) -> Iterator[None]:
        shard = self.shards[replacement.fingerprint]
        for start in range(0, len(replacement.points), SLICE):
            shard.upsert(scope, replacement.document_id, replacement.points[start : start + SLICE])
            yield

    def _write_state(self) -> None:
        temporary = "state.json.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=self._descriptor)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self.state), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, "state.json", src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        os.fsync(self._descriptor)

    def _sweep(self) -> None:
        named = {space.folder for space in self.state.spaces.values()}
        for path in self.folder.glob("shard-*"):
            if path.name not in named:
                shutil.rmtree(path, ignore_errors=True)


def _read_state(folder: Path) -> State:
    """An unreadable or foreign state is an empty one."""
    try:
        values = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        spaces = {name: Space(**space) for name, space in values.pop("spaces").items()}
        state = State(**values, spaces=spaces)
    except FileNotFoundError:
        return State()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("state.json cannot be read, the index is rebuilt: %r", error)
        return State()
    return state if state.layout == LAYOUT else State()
