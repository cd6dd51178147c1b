"""The index folder: its shards, and the one small file that says what they hold.

    state.json   position, source, and which folder is the shard of which vector space
    shard-…/     Qdrant Edge's own files

Replacing state.json is the only step that changes what the folder means, so a crash at any instruction leaves
either the old meaning or the new; folders that it does not name are leftovers and deleted at the next start.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt

from ragstone.errors import IndexFailure, IndexReadOnly
from ragstone.index.edge import state as folder_state
from ragstone.index.edge.dimensions import refuse_wrong, wrong
from ragstone.index.edge.faults import refuse_without_room
from ragstone.index.edge.filtering import compiled, ranges
from ragstone.index.edge.shard import Shard
from ragstone.index.edge.state import Space, State
from ragstone.index.filters import Filter
from ragstone.index.terms import terms
from ragstone.models import Entry, Hit, Replacement, Scope

logger = logging.getLogger(__name__)

SLICE = 100
"""Points written at once: searches wait for no more than that, about 10 ms."""

MOST_NUMBERS = 32
"""Number keys of a space that get an index, the first ones seen. Each costs every commit some
milliseconds and the disk some MiB. A range over another is still right, but reads the payload of every point in the
scope: about a second in 500,000."""

INDEX_AT_ONCE = 20_000
"""Points up to which a number key that is new gets its index while searches wait, a quarter of a second; in a larger
space the next build makes it, on its copy, and ranges over the key read every point until then."""


class Store:
    """The open folder. Blocks like its shards; made durable by `commit` alone."""

    def __init__(self, folder: Path) -> None:
        """Open what is there; what cannot be read is deleted, for the catalog can give it again.

        Raises IndexReadOnly when it cannot be read for want of room or permission.
        """
        self.folder = folder
        # Through the descriptor, a folder that was deleted and made anew cannot be mistaken for this one.
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.state = folder_state.read(folder)
        self._unflushed: set[str] = set()
        folder_state.sweep(folder, self.state)
        self.shards: dict[str, Shard] = {}
        try:
            for name, space in self.state.spaces.items():
                self.shards[name] = Shard.load(folder / space.folder)
        except IndexReadOnly:
            raise
        except IndexFailure as error:
            logger.warning("the index cannot be opened and is rebuilt: %s", error)
            self.reset("")

    def reset(self, source: str) -> None:
        for shard in self.shards.values():
            shard.close()
        self.shards.clear()
        self._unflushed.clear()
        self.state = State(source=source)
        self._write_state()
        folder_state.sweep(self.folder, self.state)

    def write(self, replacements: Sequence[Replacement]) -> Iterator[None]:
        """Carry out replacements a slice at a time; the caller may let searches through between slices.

        New points come first and the old ones go last, so a search meets at least one version of a document.
        """
        refuse_wrong(replacements, {name: space.dimensions for name, space in self.state.spaces.items()})
        newest = {(r.fingerprint, scope_key(r.tenant, r.generation), r.document_id): r for r in replacements}
        removals: dict[tuple[str, str], list[Replacement]] = {}
        for (name, scope, _), replacement in newest.items():
            refuse_without_room(self.folder)
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
        """Make everything written durable, then record the position; it never goes back."""
        self.flush()
        self.state.position = max(position, self.state.position)
        self._write_state()

    def flush(self) -> None:
        for name in self._unflushed:
            self.shards[name].flush()
        self._unflushed.clear()

    def search(
        self,
        scope: Scope,
        *,
        vector: npt.NDArray[np.float32] | None,
        text: str | None,
        limit: int,
        where: Filter | None,
        ef: int,
        exact: bool,
    ) -> list[Hit]:
        shard = self.shards.get(scope.fingerprint)
        if shard is None:
            return []
        space = self.state.spaces[scope.fingerprint]
        if vector is not None and len(vector) != space.dimensions:
            raise wrong(len(vector), space.dimensions)
        absent = self._absent(scope.fingerprint, where)
        # Without an index the engine cannot tell how few points pass, and a graph would lose them.
        unknown = ranges(where) - absent - shard.indexed
        return shard.search(
            scope_key(scope.tenant, scope.generation),
            vector=vector,
            text=text,
            limit=limit,
            where=None if where is None else compiled(where, absent),
            ef=ef,
            exact=exact or bool(unknown),
        )

    def count(self, scope: Scope, where: Filter | None) -> int:
        shard = self.shards.get(scope.fingerprint)
        if shard is None:
            return 0
        condition = None if where is None else compiled(where, self._absent(scope.fingerprint, where))
        return shard.count(scope_key(scope.tenant, scope.generation), condition)

    def scan(self, scope: Scope, start: UUID | None) -> tuple[list[Entry], UUID | None]:
        """A page of a scope's points, and where the next one starts."""
        shard = self.shards.get(scope.fingerprint)
        return ([], None) if shard is None else shard.scan(scope_key(scope.tenant, scope.generation), start)

    def scopes(self) -> list[Scope]:
        return [_scope(key, name) for name, shard in self.shards.items() for key in shard.scopes()]

    def drop(self, scope: Scope) -> Iterator[None]:
        """Delete the points of a scope a page at a time, or its whole shard when nothing else is in it."""
        name, key = scope.fingerprint, scope_key(scope.tenant, scope.generation)
        if (shard := self.shards.get(name)) is None:
            return
        if shard.size() > shard.count(key):
            for removed in shard.remove_scope(key):
                self.state.spaces[name].changed += removed
                yield
            shard.flush()
            self._write_state()
            return
        del self.state.spaces[name], self.shards[name]
        self._unflushed.discard(name)
        self._write_state()
        shard.close()
        shutil.rmtree(shard.folder, ignore_errors=True)

    def unindexed(self, name: str) -> set[str]:
        """Number keys of a space that wait for an index."""
        return set(self.state.spaces[name].numbers) - self.shards[name].indexed

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

    def _absent(self, name: str, where: Filter | None) -> set[str]:
        """Number keys that a filter asks for and no point of the space has."""
        known = self.state.spaces[name].numbers
        return ranges(where) - set(known) if len(known) < MOST_NUMBERS else set()

    def _shard_for(self, replacement: Replacement) -> Shard | None:
        """The shard that a replacement belongs into; none is made for a document that is gone."""
        name = replacement.fingerprint
        if name not in self.shards and replacement.points:
            folder = folder_state.unused_folder(self.folder)
            self.shards[name] = Shard.create(folder, replacement.dimensions)
            self.state.spaces[name] = Space(folder=folder.name, dimensions=replacement.dimensions)
        return self.shards.get(name)

    def _upsert(self, scope: str, replacement: Replacement) -> Iterator[None]:
        shard = self.shards[replacement.fingerprint]
        stored = terms(replacement.fields)
        self._index_new(replacement.fingerprint, stored.numbers)
        for start in range(0, len(replacement.points), SLICE):
            refuse_without_room(self.folder)
            shard.upsert(scope, replacement.document_id, stored, replacement.points[start : start + SLICE])
            yield

    def _index_new(self, name: str, numbers: Iterable[str]) -> None:
        shard, known = self.shards[name], self.state.spaces[name].numbers
        known += [key for key in numbers if key not in known][: max(0, MOST_NUMBERS - len(known))]
        if (waiting := self.unindexed(name)) and shard.size() <= INDEX_AT_ONCE:
            shard.index_numbers(waiting)

    def _write_state(self) -> None:
        folder_state.write(self._descriptor, self.state)


def scope_key(tenant: str, generation: UUID) -> str:
    """Tenant and generation as the one value that every point carries and every search filters by."""
    return f"{generation}/{tenant}"


def _scope(key: str, fingerprint: str) -> Scope:
    generation, _, tenant = key.partition("/")
    return Scope(tenant=tenant, generation=UUID(generation), fingerprint=fingerprint)
