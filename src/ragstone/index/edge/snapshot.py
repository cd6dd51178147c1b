"""A snapshot: one compressed tar file of the whole index at one position, and the way back.

`EdgeIndex.snapshot(target)` asks the index process for one, which comes to `take`; `restore(data_dir, file)` needs no
process, and none may serve the folder meanwhile.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast
from uuid import uuid4

from ragstone.errors import IndexFailure, IndexUnavailable
from ragstone.index.edge import state as folder_state
from ragstone.index.edge import wire
from ragstone.index.edge.archive import MANIFEST
from ragstone.index.edge.child import child
from ragstone.index.edge.copying import copy_content, persist, size_of
from ragstone.index.edge.endpoint import Endpoint, Ownership
from ragstone.index.edge.faults import RESERVE, from_os, refuse_without_room
from ragstone.index.edge.state import STAGING, State

if TYPE_CHECKING:
    from ragstone.index.edge.local import LocalIndex

FORMAT = "ragstone edge index"
RESTORING = "restoring-"
PATIENCE = 10.0  # seconds for a process that is leaving to be gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a snapshot file holds."""

    source: str  # the identity of the catalog that it was made from
    position: int  # of that catalog's change log
    points: int
    size: int  # bytes of the file


async def take(index: LocalIndex, target: Path) -> Snapshot:
    """In the index process. Writing pauses while another process copies the shards; it packs them afterwards."""
    store = index.store
    staging = store.folder / f"{STAGING}{uuid4().hex[:8]}"
    draft = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        async with AsyncExitStack() as stack:
            async with index.paused():
                store.flush()
                size = sum(size_of(shard.folder) for shard in store.shards.values())
                refuse_without_room(store.folder, RESERVE + size)
                points = sum(shard.size() for shard in store.shards.values())
                state = folder_state.to_json(store.state)
                manifest = {"format": FORMAT, "points": points, "unpacked": size, "state": state}
                staging.mkdir(mode=0o700)
                (staging / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
                arguments = (store.folder, staging, draft)
                packing = await stack.enter_async_context(child("ragstone.index.edge.archive", *arguments))
                await packing.copied()
            await packing.finished()
        draft.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):
            draft.unlink()
    return _described(manifest, target)


async def restore(data_dir: Path, file: Path, *, source: str = "") -> Snapshot:
    """Put a snapshot in the place of the index of a data folder; the next process follows the catalog from there.

    `source` is the identity of the catalog that the index is for: a snapshot of another is refused. Without it such a
    snapshot is taken, and rebuilt as soon as the process meets its own catalog. A process that serves the folder to
    nobody is told to leave. Raises IndexUnavailable when one serves it to somebody, IndexFailure when the file is
    broken, foreign or of another layout, and IndexReadOnly when there is no room; the index is untouched then.
    """
    endpoint = Endpoint(data_dir)
    try:
        endpoint.make_folder()
        staging = endpoint.folder / f"{RESTORING}{uuid4().hex[:8]}"
        try:
            manifest = await asyncio.to_thread(_unpack, file, staging, source)
            ownership = await _own(endpoint)
            try:
                await asyncio.to_thread(_put_in_place, endpoint.folder, staging, manifest)
            finally:
                ownership.release()
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise from_os(error.errno, f"the snapshot cannot be restored: {error}") from error
    return _described(manifest, file)


def _described(manifest: dict[str, Any], file: Path) -> Snapshot:
    state = manifest["state"]
    return Snapshot(
        source=state["source"], position=state["position"], points=manifest["points"], size=file.stat().st_size
    )


# --- reading a file ---------------------------------------------------------------------------------------------


def _unpack(file: Path, staging: Path, source: str) -> dict[str, Any]:
    """All of the file into the staging folder; returns its manifest."""
    with file.open("rb") as raw, _refusing_what_is_broken(file), gzip.GzipFile(fileobj=raw) as content:
        with tarfile.open(fileobj=content, mode="r|") as tar:
            manifest = _manifest(file, tar, source)
            folders = {space["folder"] for space in manifest["state"]["spaces"].values()}
            refuse_without_room(staging.parent, RESERVE + int(manifest["unpacked"]))
            staging.mkdir(mode=0o700)
            found = {_extract(tar, member, staging, folders) for member in iter(tar.next, None)}
        while content.read(2**20):  # to the end, where the check sum is
            pass
        if found != folders:
            raise ValueError(f"it lacks {', '.join(folders - found)}")
    persist(staging)
    return manifest


def _manifest(file: Path, tar: tarfile.TarFile, source: str) -> dict[str, Any]:
    first = tar.next()
    if first is None or first.name != MANIFEST or first.size > 2**24:
        raise ValueError("it begins with no manifest")
    manifest: dict[str, Any] = json.loads(_content(tar, first).read())
    if manifest["format"] != FORMAT:
        raise ValueError("it is of something else")
    layout, made_from = manifest["state"]["layout"], manifest["state"]["source"]
    if layout != folder_state.LAYOUT:
        raise IndexFailure(
            f"{file} is of another version: its layout is {layout!r}, that of this one {folder_state.LAYOUT!r}",
            hint="`ragstone index rebuild` fills the index from the catalog",
        )
    if source and made_from != source:
        raise IndexFailure(f"{file} was made from another catalog", hint="`ragstone index rebuild` fills the index")
    folder_state.from_json(manifest["state"])
    int(manifest["points"])
    return manifest


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, staging: Path, folders: set[str]) -> str:
    """Only files and folders below the shards that the manifest names; returns the shard's folder."""
    path = PurePosixPath(member.name)
    if path.parts[:1] == () or path.parts[0] not in folders or ".." in path.parts:
        raise ValueError(f"it holds {member.name!r}")
    if member.isdir():
        (staging / path).mkdir(mode=0o700)
    elif member.isreg():
        with (staging / path).open("xb") as target:
            copy_content(_content(tar, member), target)
    else:
        raise ValueError(f"{member.name!r} is neither file nor folder")
    return path.parts[0]


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    return cast("IO[bytes]", tar.extractfile(member))


@contextmanager
def _refusing_what_is_broken(file: Path) -> Iterator[None]:
    try:
        yield
    except (
        tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, AttributeError
    ) as error:  # fmt: skip
        raise IndexFailure(f"{file} is no whole snapshot of an index: {error}") from error


# --- taking its place -------------------------------------------------------------------------------------------


async def _own(endpoint: Endpoint) -> Ownership:
    """The folder for ourselves; a process that nobody uses leaves when somebody comes whom it does not suit."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while (ownership := endpoint.own()) is None:
                await _ask_to_leave(endpoint)
                await asyncio.sleep(0.02)
            return ownership
    raise IndexUnavailable("a process serves this index and does not leave", hint=f"see {endpoint.log}")


async def _ask_to_leave(endpoint: Endpoint) -> None:
    """Raises IndexUnavailable when it has other clients."""
    if (address := endpoint.address()) is None:
        return
    with suppress(ConnectionError, FileNotFoundError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_unix_connection(address)
        try:
            writer.write(wire.frame({"signature": "restore"}))
            header, _ = await wire.read(reader)
        finally:
            writer.close()
        if header["welcome"] == "taken":
            raise IndexUnavailable(
                f"process {header['process']} serves this index to others",
                hint="stop the Ragstone processes that use this data folder, then try again",
            )


def _put_in_place(folder: Path, staging: Path, manifest: dict[str, Any]) -> None:
    """Replacing state.json is the step that counts: what was before it is swept, by this call or the next start."""
    state: State = folder_state.from_json(manifest["state"])
    for space in state.spaces.values():
        place = folder_state.unused_folder(folder)
        (staging / space.folder).rename(place)
        space.folder = place.name
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        folder_state.write(descriptor, state)
    finally:
        os.close(descriptor)
    folder_state.sweep(folder, state)
    for left in folder.glob(f"{RESTORING}*"):
        shutil.rmtree(left, ignore_errors=True)
