"""Texts and vectors for the benchmarks of index engines: passages of 24 words of any texts, and their embeddings.

    python benchmarks/engine_corpus.py --cache DIR [--texts DIR] [--count 520000]

Cuts the text files below a folder (without one: the sources and documents of the installed Python packages) into
passages, embeds them with the default model, and keeps them in the cache folder: `texts.txt` (one passage a line),
`vectors.npy` (float32), `done` (how many rows are embedded). A run that was interrupted goes on where it stopped;
100,000 passages take about 8 minutes on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.lib.format import open_memmap

from ragstone.catalog.fields import fields
from ragstone.embedding.choosing import origin_of
from ragstone.embedding.files import cache_folder, pull
from ragstone.embedding.local import LocalEmbedder
from ragstone.models import Fields, Point, Replacement, Scope, Vectors

MODEL, PASSAGE, DIMENSIONS = "all-MiniLM-L6-v2", 24, 384
TEXT_FILES = frozenset((".txt", ".md", ".rst", ".html", ".json", ".jsonl", ".csv", ".tex", ".py"))
BATCH = 2_000  # passages embedded between two notes of how far it is
SCOPE = Scope(tenant="bench", generation=UUID(int=1), fingerprint=hashlib.sha256(b"bench").hexdigest())
PUBLISHED = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Passages and their vectors, row by row."""

    texts: Sequence[str]
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, start: int, end: int) -> Corpus:
        return Corpus(texts=self.texts[start:end], vectors=self.vectors[start:end])

    def joined(self, together: int) -> Corpus:
        """Longer texts: so many passages in one, with the vector of the first."""
        starts = range(0, len(self) - together + 1, together)
        texts = [" ".join(self.texts[start : start + together]) for start in starts]
        return Corpus(texts=texts, vectors=self.vectors[::together][: len(texts)])

    def stretched(self, dimensions: int) -> Corpus:
        """Other dimensions: the real vectors repeated, each time shuffled, and cut. Cosines stay about the same."""
        random = np.random.default_rng(5)
        own = self.vectors.shape[1]
        order = np.concatenate([random.permutation(own) for _ in range(-(-dimensions // own))])[:dimensions]
        taken = self.vectors if dimensions == own else self.vectors[:, order]
        scaled: Vectors = np.array(taken / np.linalg.norm(taken, axis=1, keepdims=True), dtype=np.float32)
        return Corpus(texts=self.texts, vectors=scaled)


def load(cache: Path, most: int | None = None) -> Corpus:
    """What a cache folder holds by now, or the first so many rows of it. Vectors stay on disk until they are read."""
    vectors = np.load(cache / "vectors.npy", mmap_mode="r")
    done = int((cache / "done").read_text()) if (cache / "done").exists() else len(vectors)
    with (cache / "texts.txt").open(encoding="utf-8") as lines:
        texts = [line.rstrip("\n") for line in islice(lines, done if most is None else min(done, most))]
    return Corpus(texts=texts, vectors=vectors[: len(texts)])


def ensure(cache: Path, count: int, texts: Path | None = None) -> None:
    """Cut and embed what is not there yet of so many passages."""
    cache.mkdir(parents=True, exist_ok=True)
    listed, stored, progress = cache / "texts.txt", cache / "vectors.npy", cache / "done"
    done = int(progress.read_text()) if progress.exists() else 0
    if done >= count:
        return
    if not listed.exists():
        draft = listed.with_suffix(".new")
        found = islice(passages(texts or Path(sysconfig.get_paths()["purelib"])), count)
        draft.write_text("".join(f"{passage}\n" for passage in found), encoding="utf-8")
        draft.rename(listed)
    lines = listed.read_text(encoding="utf-8").split("\n")[:-1]
    if len(lines) < count:
        raise SystemExit(
            f"{listed} has {len(lines):,} passages, not {count:,}: use more texts, and another cache folder"
        )
    shape = (len(lines), DIMENSIONS)
    vectors = open_memmap(stored, mode="r+" if done else "w+", dtype=np.float32, shape=None if done else shape)
    asyncio.run(_embed(lines[:count], vectors, done, progress))


async def _embed(
    lines: Sequence[str], vectors: np.memmap[tuple[int, int], np.dtype[np.float32]], done: int, progress: Path
) -> None:
    pull(origin_of(MODEL), cache_folder(None))
    embedder = LocalEmbedder.open(MODEL)
    for start in range(done, len(lines), BATCH):
        end = min(start + BATCH, len(lines))
        vectors[start:end] = await embedder.embed(lines[start:end], "backfill")
        vectors.flush()
        progress.write_text(str(end))
        print(f"{end:,} of {len(lines):,} passages embedded", flush=True)
    await embedder.aclose()


def passages(folder: Path) -> Iterator[str]:
    """Of every text file below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in TEXT_FILES and path.is_file():
            words = path.read_text(encoding="utf-8", errors="replace").split()
            for start in range(0, len(words) - PASSAGE + 1, PASSAGE):
                yield " ".join(words[start : start + PASSAGE])


# --- as an index gets it ----------------------------------------------------------------------------------------


def chunk_id(row: int) -> UUID:
    """Spread like real ids, and the row can be read from it."""
    return UUID(bytes=_digest(b"chunk %d" % row, 12) + row.to_bytes(4))


def row_of(chunk: UUID) -> int:
    return int.from_bytes(chunk.bytes[12:])


def replacements(corpus: Corpus, *, first: int = 0, together: int = 5) -> Iterator[Replacement]:
    """Documents of so many chunks; `first` is the number of the first row."""
    for start in range(0, len(corpus), together):
        rows = range(start, min(start + together, len(corpus)))
        document = document_id(first + start)
        yield Replacement(
            tenant=SCOPE.tenant,
            collection=UUID(int=0),
            generation=SCOPE.generation,
            fingerprint=SCOPE.fingerprint,
            dimensions=corpus.vectors.shape[1],
            document_id=document,
            points=tuple(_point(corpus, row, first) for row in rows),
            fields=_fields(document, first + start),
        )


def document_id(first_row: int) -> UUID:
    return UUID(bytes=_digest(b"document %d" % first_row, 16))


def sample_of(first_row: int) -> float:
    """The value of the document's field `sample`."""
    (value,) = _fields(document_id(first_row), first_row)["sample"]
    return float(value)


def _point(corpus: Corpus, row: int, first: int) -> Point:
    text, vector = corpus.texts[row], np.asarray(corpus.vectors[row])
    return Point(chunk_id=chunk_id(first + row), text=text, vector=vector, hash=_digest(text.encode(), 16))


def _fields(document: UUID, number: int) -> Fields:
    return fields(
        document,
        source="bench",
        uri=f"bench:///{number}.md",
        title=f"Document {number}",
        media_type="text/markdown",
        modified_at=PUBLISHED,
        published_at=PUBLISHED,
        metadata={"language": "en", "year": 1990 + number % 35},
    )


def _digest(data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="where passages and vectors are kept")
    parser.add_argument("--texts", type=Path, help="a folder of text files")
    parser.add_argument("--count", type=int, default=520_000, help="passages")
    arguments = parser.parse_args()
    ensure(arguments.cache, arguments.count, arguments.texts)


if __name__ == "__main__":
    main()
