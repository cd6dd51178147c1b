"""Copies of the files of the engine, which are made large and filled little by little: empty parts take no room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO

CHUNK = 2**16
_ZEROS = bytes(CHUNK)


def copy_folder(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=_copy_file)


def copy_content(source: IO[bytes], target: IO[bytes]) -> None:
    """All that is left of an open file into an empty one, zeros as holes."""
    while chunk := source.read(CHUNK):
        if chunk == _ZEROS:
            target.seek(CHUNK, os.SEEK_CUR)
        else:
            target.write(chunk)
    target.truncate()


def persist(folder: Path) -> None:
    """Copied files are in the page cache only; what is pointed to must survive a power cut."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def size_of(folder: Path) -> int:
    """Bytes of the disk that the files in a folder take."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _copy_file(source: str, target: str) -> None:
    with Path(source).open("rb") as old, Path(target).open("wb") as new:
        copy_content(old, new)
