"""Errors of the operating system and of the engine as ours: mapped here and nowhere else."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragstone.errors import IndexFailure, IndexReadOnly

FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
LOCKED = frozenset((errno.EROFS, errno.EACCES, errno.EPERM))

RESERVE = 128 * 2**20
"""Bytes of the disk that are never used. The engine writes into mapped files, where a disk that is full in the middle
of a write does not give an error but kills the process; and it makes files 32 MiB at a time."""


OPENING = RESERVE // 4
"""Bytes that must be free for a process to start: one that only reads changes little in the files."""


def refuse_without_room(folder: Path, needed: int = RESERVE) -> None:
    """Raises IndexReadOnly when fewer than `needed` bytes of the disk are free."""
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        room = f"{free >> 20} MiB are free, {needed >> 20} MiB are needed"
        raise _read_only(f"the disk of {folder} is full: {room}", errno.ENOSPC)


@contextmanager
def engine_errors() -> Iterator[None]:
    """The binding raises bare Exceptions, with the operating system's number in their text at best."""
    try:
        yield
    except IndexFailure:
        raise
    except Exception as error:
        if found := re.search(r"\(os error (\d+)\)", str(error)):
            raise from_os(int(found[1]), f"Qdrant Edge: {error}") from error
        raise IndexFailure(
            f"Qdrant Edge: {error}", hint="the index can be deleted at any time; it is rebuilt from the catalog"
        ) from error


def from_os(number: int | None, message: str) -> IndexFailure:
    """Ours for an error number of the operating system."""
    if number in FULL or number in LOCKED:
        return _read_only(message, number)
    return IndexFailure(message)


def _read_only(message: str, number: int | None) -> IndexReadOnly:
    if number in FULL:
        return IndexReadOnly(message, hint="free some space: nothing is lost, and writing goes on by itself")
    return IndexReadOnly(message, hint="make the folder writable to this user, or set data_dir to one that is")
