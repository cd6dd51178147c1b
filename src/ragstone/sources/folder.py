"""Files under a folder, or one file."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ragstone.errors import DocumentTooLarge, SourceError, UnreadableDocument
from ragstone.models import Fetched, Item, Skip
from ragstone.settings import FolderSource
from ragstone.sources.globs import Globs

NEVER_ENTERED = frozenset({"node_modules", "__pycache__"})
"""Beside hidden folders, such as .git, .venv and .ragstone."""

WITHOUT_TEXT: dict[str, str] = {
    "an image": ".avif .bmp .gif .heic .icns .ico .jpeg .jpg .png .psd .svg .tif .tiff .webp",
    "audio": ".aac .flac .m4a .mid .mp3 .oga .ogg .opus .wav .wma",
    "a video": ".avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .webm .wmv",
    "an archive": ".7z .bz2 .gz .iso .jar .rar .tar .tgz .whl .xz .zip .zst",
    "a font": ".eot .otf .ttf .woff .woff2",
    "a program": ".a .bin .class .dll .dylib .exe .o .pyc .pyo .so .wasm",
    "a database": ".db .mdb .parquet .sqlite .sqlite3",
}
_WITHOUT_TEXT = {suffix: kind for kind, suffixes in WITHOUT_TEXT.items() for suffix in suffixes.split()}


class Folder:
    """Lists files in a stable order. Links are followed to files inside of the folder only.

    Without `include`, files that by their names hold no text are listed as skipped and never opened.
    """

    def __init__(self, name: str, settings: FolderSource) -> None:
        self.name = name
        self._root = Path(os.path.realpath(settings.path))
        self._include = Globs(settings.include)
        self._exclude = Globs(settings.exclude)

    @property
    def prefix(self) -> str:
        return _uri(self._root) if self._root.is_file() else _uri(self._root).rstrip("/") + "/"

    async def items(self) -> AsyncIterator[Item | Skip]:
        """Folder by folder, each read in a thread. Raises SourceError when there is nothing at the path."""
        if await asyncio.to_thread(self._root.is_file):
            yield await asyncio.to_thread(self._item, self._root, self._root.name)
            return
        waiting = [("", self._root)]
        while waiting:
            found, folders = await asyncio.to_thread(self._read_folder, *waiting.pop())
            waiting.extend(reversed(folders))
            for item in found:
                yield item

    async def look(self, uri: str) -> Item | Skip | None:
        raise NotImplementedError

    async def fetch(self, item: Item, limit: int, known: str | None = None) -> Fetched | None:
        """Raises UnreadableDocument when the file is gone, refused, or no longer inside of the folder."""
        return await asyncio.to_thread(self._read_file, item, limit, known)

    def _read_folder(self, path: str, folder: Path) -> tuple[list[Item | Skip], list[tuple[str, Path]]]:
        """What to yield of one folder, and the folders in it."""
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if folder == self._root:
                name = _words(str(folder))
                raise SourceError(f"cannot read the folder {name} ({error.strerror}): nothing was changed") from error
            reason = f"{_words(path)}: {error.strerror}"
            return [Skip(uri=_uri(folder) + "/", code=UnreadableDocument.code, reason=reason)], []
        found: list[Item | Skip] = []
        folders: list[tuple[str, Path]] = []
        for entry, below in self._meant(path, listed):
            if entry.is_dir(follow_symlinks=False):
                folders.append((below, folder / entry.name))
            elif not self._include or self._include.match(_words(below)):
                found.append(self._item(folder / entry.name, below))
        return found, folders

    def _meant(self, path: str, entries: list[os.DirEntry[str]]) -> Iterator[tuple[os.DirEntry[str], str]]:
        for entry in entries:
            below = f"{path}/{entry.name}" if path else entry.name
            if not entry.name.startswith(".") and entry.name not in NEVER_ENTERED and not self._exclude.match(below):
                yield entry, below

    def _item(self, file: Path, path: str) -> Item | Skip:
        uri = _uri(file)
        try:
            found = self._inside(file).stat()
        except (OSError, UnreadableDocument) as error:
            return Skip(uri=uri, code=UnreadableDocument.code, reason=f"{_words(path)}: {_reason(error)}")
        kind = None if self._include else _WITHOUT_TEXT.get(file.suffix.lower())
        if not stat.S_ISREG(found.st_mode):
            kind = "a link to a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        if kind:
            return Skip(uri=uri, code="unsupported", reason=f"{_words(path)} is {kind}")
        return Item(
            uri=uri,
            revision=_revision(found),
            name=_words(path),
            modified_at=_modified_at(found),
        )

    def _read_file(self, item: Item, limit: int, known: str | None) -> Fetched | None:
        file = Path(os.fsdecode(unquote_to_bytes(item.uri.removeprefix("file://"))))
        try:
            # Not to hang where a pipe has taken the file's place.
            opened = os.open(self._inside(file), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            with os.fdopen(opened, "rb") as content:
                found = os.fstat(content.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise UnreadableDocument(f"{item.name} is no regular file any more")
                if _revision(found) == known:
                    return None
                data = content.read(limit + 1)
        except OSError as error:
            raise UnreadableDocument(f"cannot read {item.name}: {error.strerror}") from error
        if len(data) > limit:
            raise DocumentTooLarge(
                f"{item.name} has {found.st_size:,} bytes, the limit is {limit:,}",
                hint="raise parsing.max_bytes, or exclude it",
            )
        return Fetched(data=data, revision=_revision(found), modified_at=_modified_at(found))

    def _inside(self, file: Path) -> Path:
        """The file behind a link. Raises UnreadableDocument when that is outside of the folder."""
        real = Path(os.path.realpath(file))
        if not real.is_relative_to(self._root):
            raise UnreadableDocument("the link leads out of the folder")
        return real


def _revision(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def _modified_at(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)


def _uri(path: Path) -> str:
    return "file://" + quote_from_bytes(os.fsencode(path))


def _words(path: str) -> str:
    """A path as text: names need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
