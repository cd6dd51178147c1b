"""Files under a folder, or one file."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ragstone.errors import DocumentTooLarge, DocumentUnavailable, UnreadableDocument
from ragstone.models import Fetched, Item, Skip
from ragstone.source_settings import FolderSource
from ragstone.sources.globs import Globs
from ragstone.sources.notices import CannotWatch, Notices, is_remote
from ragstone.sources.tree import Tree, is_folder, words

logger = logging.getLogger(__name__)

MANY = 5000
"""Changes at once from which a listing is the cheaper way, and the surer: the system forgets some past 16,384."""

PASSING = frozenset({errno.EAGAIN, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT})
"""What may go better another time: a server that is away, or too many open files."""

CANNOT_WATCH = (
    "source %s: the system does not tell of changes (%s), so that they are looked for every %g s; "
    "on Linux `sysctl fs.inotify.max_user_watches` raises the limit"
)

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
        self._settings = settings
        root = Path(os.path.realpath(settings.path))
        self._tree = Tree(root, Globs(settings.include), Globs(settings.exclude))

    @property
    def prefix(self) -> str:
        root = _uri(self._tree.root)
        return root if self._tree.is_file() else root.rstrip("/") + "/"

    async def items(self) -> AsyncIterator[Item | Skip]:
        """Folder by folder, each read in a thread. Raises SourceError when there is nothing at the path."""
        root = self._tree.root
        if await asyncio.to_thread(self._tree.is_file):
            yield await asyncio.to_thread(self._item, root, root.name)
            return
        waiting = [("", root)]
        while waiting:
            found, folders = await asyncio.to_thread(self._read_folder, *waiting.pop())
            waiting.extend(reversed(folders))
            for item in found:
                yield item

    async def look(self, uri: str) -> Item | Skip | None:
        """Raises SourceError when there is nothing at the source's own path."""
        return await asyncio.to_thread(self._look, uri)

    async def fetch(self, item: Item, limit: int, known: str | None = None) -> Fetched | None:
        """Raises UnreadableDocument when the file is gone, refused, or no longer inside of the folder."""
        return await asyncio.to_thread(self._read_file, item, limit, known)

    async def changes(self) -> AsyncGenerator[frozenset[str], None]:
        """Begins with an empty set once it watches, so that a listing from then on misses nothing.

        A folder that comes, goes or is moved gives an empty set, too. A link is told of when it changes itself, not
        when the file behind it does. With `watch = "off"` nothing is ever told.
        """
        if self._settings.watch == "off":
            await asyncio.Event().wait()
        if self._settings.watch == "auto" and not await asyncio.to_thread(is_remote, self._tree.root):
            try:
                async with aclosing(self._told()) as hints:
                    async for hint in hints:
                        yield hint
            except CannotWatch as error:
                logger.warning(CANNOT_WATCH, self.name, error, self._settings.poll)
        async with aclosing(self._seen()) as hints:
            async for hint in hints:
                yield hint

    async def _told(self) -> AsyncGenerator[frozenset[str], None]:
        """As the system tells. Watching begins anew when there are other folders to watch, or too much to tell."""
        while True:
            folders = await asyncio.to_thread(self._tree.folders)
            try:
                notices = await asyncio.to_thread(Notices, folders)
            except FileNotFoundError:
                continue
            with closing(notices):
                if await asyncio.to_thread(self._tree.folders) != folders:
                    continue  # one was made before the folder that it is in was watched
                yield frozenset()
                while 0 < len(paths := await notices.paths(self._settings.debounce)) < MANY:
                    if await asyncio.to_thread(self._concern_folders, paths, folders):
                        break
                    if files := frozenset(_uri(path) for path in paths if self._tree.takes(path)):
                        yield files

    async def _seen(self) -> AsyncGenerator[frozenset[str], None]:
        """As one listing differs from the one before."""
        before: dict[str, Item | Skip] | None = None
        while True:
            now = {found.uri: found async for found in self.items()}
            if before is None:
                yield frozenset()
            elif changed := frozenset(uri for uri in before | now if before.get(uri) != now.get(uri)):
                yield changed
            before = now
            await asyncio.sleep(self._settings.poll)

    def _concern_folders(self, paths: Collection[Path], folders: Collection[Path]) -> bool:
        """Whether folders came, went, or are other than before."""
        return any(path in folders or (self._tree.below(path) and is_folder(path)) for path in paths)

    def _look(self, uri: str) -> Item | Skip | None:
        file = _path(uri)
        self._tree.check()
        if _uri(file) != uri or not self._tree.takes(file):
            return None
        try:
            if stat.S_ISDIR(file.lstat().st_mode) or os.path.realpath(file.parent) != str(file.parent):
                return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return Skip(uri=uri, code=UnreadableDocument.code, reason=f"{words(file.name)}: {error.strerror}")
        return self._item(file, self._tree.below(file) or file.name)

    def _read_folder(self, path: str, folder: Path) -> tuple[list[Item | Skip], list[tuple[str, Path]]]:
        """What to yield of one folder, and the folders in it."""
        try:
            entries = self._tree.entries(path, folder)
        except OSError as error:
            reason = f"{words(path)}: {error.strerror}"
            return [Skip(uri=_uri(folder) + "/", code=UnreadableDocument.code, reason=reason)], []
        found: list[Item | Skip] = []
        folders: list[tuple[str, Path]] = []
        for entry, below in entries:
            if is_folder(entry):
                folders.append((below, folder / entry.name))
            elif self._tree.takes_file(below):
                found.append(self._item(folder / entry.name, below))
        return found, folders

    def _item(self, file: Path, path: str) -> Item | Skip:
        uri = _uri(file)
        try:
            found = self._inside(file).stat()
        except (OSError, UnreadableDocument) as error:
            return Skip(uri=uri, code=UnreadableDocument.code, reason=f"{words(path)}: {_reason(error)}")
        kind = None if self._tree.include else _WITHOUT_TEXT.get(file.suffix.lower())
        if not stat.S_ISREG(found.st_mode):
            kind = "a link to a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        if kind:
            return Skip(uri=uri, code="unsupported", reason=f"{words(path)} is {kind}", hint="exclude it")
        return Item(
            uri=uri,
            revision=_revision(found),
            name=words(path),
            modified_at=_modified_at(found),
        )

    def _read_file(self, item: Item, limit: int, known: str | None) -> Fetched | None:
        file = _path(item.uri)
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
            kind = DocumentUnavailable if error.errno in PASSING else UnreadableDocument
            raise kind(f"cannot read {item.name}: {error.strerror}") from error
        if len(data) > limit:
            raise DocumentTooLarge(
                f"{item.name} has {found.st_size:,} bytes, the limit is {limit:,}",
                hint="raise parsing.max_bytes, or exclude it",
            )
        return Fetched(data=data, revision=_revision(found), modified_at=_modified_at(found))

    def _inside(self, file: Path) -> Path:
        """The file behind a link. Raises UnreadableDocument when that is outside of the folder."""
        real = Path(os.path.realpath(file))
        if not real.is_relative_to(self._tree.root):
            raise UnreadableDocument("the link leads out of the folder")
        return real


def _revision(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def _modified_at(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)


def _uri(path: Path) -> str:
    return "file://" + quote_from_bytes(os.fsencode(path))


def _path(uri: str) -> Path:
    return Path(os.fsdecode(unquote_to_bytes(uri.removeprefix("file://"))))


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
