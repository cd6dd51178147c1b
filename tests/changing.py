"""Documents that keep changing, with a memory of all that they ever were."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from ragstone.indexing.push import Push
from ragstone.parsing.parse import parse

WORDS = [
    "pump",
    "valve",
    "gear",
    "shaft",
    "seal",
    "plate",
    "spring",
    "motor",
    "pipe",
    "filter",
    "tank",
    "meter",
    "blade",
]
LARGE = 320
"""Paragraphs, each a chunk of its own: more than are embedded in one go."""


class Changing:
    """A folder and a push source, changed by a seeded random. Files are replaced whole, as editors do."""

    def __init__(self, folder: Path, push: Push, rng: random.Random) -> None:
        self.folder = folder
        self.push = push
        self.now: dict[str, bytes] = {}  # by URI
        self.history: dict[str, dict[bytes, tuple[int, int]]] = {}  # by URI: SHA-256 of each content, first and last
        self._texts: dict[bytes, str] = {}
        self._rng = rng
        self._clock = 0
        self._large = self.folder / "manual.md"

    def text(self, content_hash: bytes) -> str:
        """Of the document that is made of a content."""
        return self._texts[content_hash]

    def create_many(self, count: int) -> None:
        for _ in range(count):
            self._create()
        self._rewrite_large()

    async def change(self) -> None:
        """Something happens to one document, or to a folder of them."""
        changes: list[tuple[int, Callable[[], Awaitable[None] | None]]] = [
            (12, self._create), (40, self._edit), (9, self._delete), (8, self._rename), (4, self._there_and_back),
            (1, self._rename_folder), (2, self._rewrite_large), (1, self._delete_large), (18, self._push),
            (5, self._push_deletion),
        ]  # fmt: skip
        weights, kinds = zip(*changes, strict=True)
        (chosen,) = self._rng.choices(kinds, weights)
        if (waiting := chosen()) is not None:
            await waiting

    # --- files --------------------------------------------------------------------------------------------------

    def _create(self) -> None:
        path = self.folder / f"group{self._rng.randrange(6)}" / f"part{self._rng.randrange(60):02}.md"
        self._write(path, self._paragraphs(self._rng.randint(2, 8)))

    def _edit(self) -> None:
        """One paragraph is changed, as most edits do."""
        if path := self._any_file():
            paragraphs = path.read_text().split("\n\n")[2:]
            paragraphs[self._rng.randrange(len(paragraphs))] = self._paragraph()
            self._write(path, paragraphs)

    def _delete(self) -> None:
        if path := self._any_file():
            path.unlink()
            del self.now[path.as_uri()]

    def _rename(self) -> None:
        if path := self._any_file():
            self._move(path, path.with_name(f"moved{self._rng.randrange(40):02}.md"))

    def _there_and_back(self) -> None:
        if path := self._any_file():
            elsewhere = path.with_name("elsewhere.md")
            self._move(path, elsewhere)
            self._move(elsewhere, path)

    def _rename_folder(self) -> None:
        groups = sorted(path for path in self.folder.iterdir() if path.is_dir())
        group, target = self._rng.choice(groups), self.folder / f"group{self._rng.randrange(6)}"
        if not target.exists():
            files = sorted(group.glob("*.md"))
            for file in files:
                self._remember(target / file.name, file.read_bytes())
            group.rename(target)
            for file in files:
                del self.now[file.as_uri()]

    def _rewrite_large(self) -> None:
        self._write(self._large, self._paragraphs(LARGE))

    def _delete_large(self) -> None:
        self._large.unlink(missing_ok=True)
        self.now.pop(self._large.as_uri(), None)

    def _any_file(self) -> Path | None:
        files = sorted(self.folder.glob("group*/*.md"))
        return self._rng.choice(files) if files else None

    def _write(self, path: Path, paragraphs: list[str]) -> None:
        """Not through the name of a file that is listed: half of it might be read."""
        data = self._document(path.stem, paragraphs)
        draft = self.folder / ".draft"
        draft.write_bytes(data)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._remember(path, data)
        draft.replace(path)

    def _move(self, path: Path, target: Path) -> None:
        self._remember(target, path.read_bytes())
        path.replace(target)
        if target != path:
            del self.now[path.as_uri()]

    def _remember(self, path: Path, data: bytes) -> None:
        self._note(path.as_uri(), data, path.name)

    # --- pushed documents ---------------------------------------------------------------------------------------

    async def _push(self) -> None:
        key = f"order{self._rng.randrange(40)}.md"
        data = self._document(key, self._paragraphs(self._rng.randint(1, 5)))
        self._note(self.push.uri(key), data, key)
        assert await self.push.put(key, data)

    async def _push_deletion(self) -> None:
        key = f"order{self._rng.randrange(40)}.md"
        assert await self.push.delete(key)
        self.now.pop(self.push.uri(key), None)

    # --- contents -----------------------------------------------------------------------------------------------

    def _note(self, uri: str, data: bytes, name: str) -> None:
        """Before it can be seen."""
        self._clock += 1
        digest = hashlib.sha256(data).digest()
        moments = self.history.setdefault(uri, {})
        first, _ = moments.get(digest, (self._clock, 0))
        moments[digest] = first, self._clock
        self._texts.setdefault(digest, parse(data, name).text)
        self.now[uri] = data

    def _document(self, title: str, paragraphs: list[str]) -> bytes:
        """No two are the same."""
        return "\n\n".join([f"# {title}", f"State {self._clock} of this text.", *paragraphs]).encode()

    def _paragraphs(self, count: int) -> list[str]:
        return [self._paragraph() for _ in range(count)]

    def _paragraph(self) -> str:
        return " ".join(self._rng.choices(WORDS, k=16)).capitalize() + "."
