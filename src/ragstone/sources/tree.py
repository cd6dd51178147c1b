"""Which files and folders below a path a folder source takes."""

from __future__ import annotations

import os
from pathlib import Path

from ragstone.errors import SourceError
from ragstone.sources.globs import Globs

NEVER_ENTERED = frozenset({"node_modules", "__pycache__"})
"""Beside hidden folders, such as .git, .venv and .ragstone."""


class Tree:
    """The root, a folder or a single file, and what is taken below it. Paths below are given with `/` in between."""

    def __init__(self, root: Path, include: Globs, exclude: Globs) -> None:
        self.root = root
        self.include = include
        self._exclude = exclude

    def is_file(self) -> bool:
        try:
            return self.root.is_file()
        except OSError:
            return False

    def check(self) -> None:
        """Raises SourceError when there is nothing at the root."""
        try:
            self.root.stat()
        except OSError as error:
            raise self._gone(error) from error

    def entries(self, path: str, folder: Path) -> list[tuple[os.DirEntry[str], str]]:
        """What is taken of a folder at `path` below the root, by name, each with its own path below the root.

        Raises OSError, and SourceError for the root itself.
        """
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if folder == self.root:
                raise self._gone(error) from error
            raise
        named = [(entry, f"{path}/{entry.name}" if path else entry.name) for entry in listed]
        return [(entry, below) for entry, below in named if not self._is_passed_over(below)]

    def folders(self) -> frozenset[Path]:
        """Those that a listing reads; for a single file, the one that it lies in. Raises SourceError."""
        if self.is_file():
            return frozenset({self.root.parent})
        found: list[Path] = []
        waiting = [("", self.root)]
        while waiting:
            path, folder = waiting.pop()
            try:
                entries = self.entries(path, folder)
            except OSError:  # a listing tells of it
                continue
            found.append(folder)
            waiting += [(below, folder / entry.name) for entry, below in entries if is_folder(entry)]
        return frozenset(found)

    def below(self, path: Path) -> str | None:
        """The path below the root; None where a listing does not go."""
        if path == self.root or not path.is_relative_to(self.root):
            return None
        below = path.relative_to(self.root).as_posix()
        return None if self._is_passed_over(below) else below

    def takes(self, file: Path) -> bool:
        """Whether a file of this path is taken, if there is one."""
        below = self.below(file)
        return file == self.root if below is None else self.takes_file(below)

    def takes_file(self, below: str) -> bool:
        return not self.include or self.include.match(words(below))

    def _is_passed_over(self, below: str) -> bool:
        hidden = any(name.startswith(".") or name in NEVER_ENTERED for name in below.split("/"))
        return hidden or self._exclude.match(below)

    def _gone(self, error: OSError) -> SourceError:
        what = "it is neither a file nor a folder" if isinstance(error, NotADirectoryError) else error.strerror
        return SourceError(
            f"cannot read {words(str(self.root))} ({what}): nothing was changed",
            hint="see that it is there and that you may read it; `ragstone forget` removes what is gone for good",
        )


def is_folder(found: os.DirEntry[str] | Path) -> bool:
    """Links to folders are none, nor is what cannot be looked at."""
    try:
        return not found.is_symlink() and found.is_dir()
    except OSError:
        return False


def words(path: str) -> str:
    """A path as text: names need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", errors="replace")
