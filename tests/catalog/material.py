"""Document versions to publish, made from short texts: one chunk a line."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from ragstone.catalog.catalog import Catalog
from ragstone.models import Chunk, Collection, Document, Fingerprint, Generation, NewVersion, Section, StoredChunk

FINGERPRINT = Fingerprint(digest="f" * 64, dimensions=4, spec={"model": "made for tests", "dimensions": 4})
PROBES = np.arange(8, dtype=np.float32).reshape(2, 4)
PREFIX = "Title\n\n"
MODIFIED = datetime(2024, 5, 17, 12, 30, tzinfo=UTC)


def vector(embedded: str) -> npt.NDArray[np.float32]:
    """A vector that belongs to a text as an embedding does."""
    digest = hashlib.sha256(embedded.encode(errors="replace")).digest()
    return np.frombuffer(digest[:4], dtype=np.uint8).astype(np.float32)


def version(uri: str, lines: Sequence[str], revision: str = "1", source: str = "folder") -> NewVersion:
    """A version whose text is these lines, each of them a chunk on its own page."""
    text = "\n".join(lines)
    chunks: list[Chunk] = []
    start = 0
    for ordinal, line in enumerate(lines):
        end = start + len(line)
        chunks.append(
            Chunk(
                ordinal=ordinal,
                section=1,
                start=start,
                end=end,
                text=line,
                prefix=PREFIX,
                tokens=len(line) + len(PREFIX),
                pages=(ordinal + 1, ordinal + 1),
            )
        )
        start = end + 1
    document = Document(
        title="Title",
        media_type="text/plain",
        text=text,
        sections=(
            Section(ordinal=0, parent=None, level=0, path=(), start=0, end=len(text)),
            Section(ordinal=1, parent=0, level=1, path=("Title", "Part"), start=0, end=len(text)),
        ),
        blocks=(),
        page_starts=tuple(chunk.start for chunk in chunks),
        metadata={"lines": len(lines)},
    )
    return NewVersion(
        uri=uri,
        source=source,
        revision=revision,
        content_hash=hashlib.sha256(text.encode(errors="replace")).digest(),
        document=document,
        chunks=tuple(chunks),
        vectors=np.array([vector(chunk.embedded) for chunk in chunks], dtype=np.float32).reshape(-1, 4),
        modified_at=MODIFIED,
    )


async def generation(
    catalog: Catalog, tenant: str = "acme", name: str = "handbook", settings: str = "structure"
) -> tuple[Collection, Generation]:
    """A collection and a generation in it."""
    collection = await catalog.ensure_collection(tenant, name)
    return collection, await catalog.create_generation(collection, FINGERPRINT, PROBES, {"strategy": settings})


async def stored(catalog: Catalog, generation: Generation) -> dict[str, list[StoredChunk]]:
    """What a reader finds in a generation: the chunks of each document in their order, by URI."""
    replacements, _ = await catalog.replacements(0, 10**6)
    ids = [point.chunk_id for r in replacements if r.generation == generation.id for point in r.points]
    chunks = (await catalog.chunks(generation.id, generation.tenant, ids)).values()
    found: dict[str, list[StoredChunk]] = {uri: [] for uri in await catalog.states(generation)}
    for chunk in sorted(chunks, key=lambda chunk: chunk.ordinal):
        found[chunk.uri].append(chunk)
    return found


async def texts(catalog: Catalog, generation: Generation) -> dict[str, list[str]]:
    """The texts of these chunks."""
    return {uri: [chunk.text for chunk in chunks] for uri, chunks in (await stored(catalog, generation)).items()}
