"""Vectors that are computed once: different ways to cut a text have many chunks in common, and a second run has all."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ragstone.embedding.base import Embedder, Lane
from ragstone.errors import SettingsError
from ragstone.models import Vectors

BATCH = 64
"""Texts that are embedded before their vectors are kept: what an interrupted run loses at most."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told the texts embedded so far, and how many are to be."""


class VectorCache:
    """An embedder with a memory on disk, a file for each fingerprint. Several processes may share it."""

    def __init__(self, embedder: Embedder, database: sqlite3.Connection, progress: Progress) -> None:
        self.embedder = embedder
        self._database = database
        self._progress = progress

    @classmethod
    @contextmanager
    def open(cls, embedder: Embedder, folder: Path, progress: Progress) -> Iterator[VectorCache]:
        """Raises SettingsError when the folder cannot hold the file."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(folder / f"{embedder.fingerprint.digest[:16]}.sqlite", timeout=60)
            database.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"cannot keep vectors in {folder}: {error}", hint="set cache_dir") from None
        with closing(database):
            yield cls(embedder, database, progress)

    async def embed(self, texts: Sequence[str], lane: Lane) -> Vectors:
        """As the embedder does. Raises ProviderError."""
        keys = [_key(text, lane) for text in texts]
        new = [text for key, text in dict(zip(keys, texts, strict=True)).items() if self._read(key) is None]
        for done in range(0, len(new), BATCH):
            self._progress(done, len(new))
            await self._learn(new[done : done + BATCH], lane)
        self._progress(len(new), len(new))
        rows = [row for key in keys if (row := self._read(key)) is not None]
        return np.array(rows, np.float32).reshape(len(texts), self.embedder.fingerprint.dimensions)

    async def _learn(self, texts: Sequence[str], lane: Lane) -> None:
        vectors = await self.embedder.embed(texts, lane)
        rows = [(_key(text, lane), vector.astype("<f4").tobytes()) for text, vector in zip(texts, vectors, strict=True)]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def _read(self, key: bytes) -> npt.NDArray[np.float32] | None:
        row = self._database.execute("SELECT vector FROM vectors WHERE key = ?", (key,)).fetchone()
        return None if row is None else np.frombuffer(row[0], "<f4")


def _key(text: str, lane: Lane) -> bytes:
    """A model may put one prefix before a question and another before a document."""
    kind = "question" if lane == "query" else "document"
    return hashlib.sha256(f"{kind}\0{text}".encode(errors="surrogatepass")).digest()
