"""A catalog filled as indexing fills it, without the embedding: for measuring what it takes."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from pathlib import Path

import numpy as np
import psycopg
from engine_corpus import PUBLISHED, SCOPE, Corpus
from engines import TABLES, queried

from ragstone.catalog import embedded
from ragstone.catalog.catalog import Catalog
from ragstone.models import Chunk, Document, Fingerprint, NewVersion, Section

TOGETHER = 128  # versions published at once


async def fill_catalog(folder: Path, corpus: Corpus, chunks_per_document: int) -> int:
    """Publish documents of so many chunks; gives the bytes of the catalog's tables."""
    server = embedded.start(folder)
    try:
        async with aclosing(await Catalog.open(server.url)) as catalog:
            collection = await catalog.ensure_collection("bench", "bench")
            dimensions = corpus.vectors.shape[1]
            fingerprint = Fingerprint(digest=SCOPE.fingerprint, dimensions=dimensions, spec={"model": "bench"})
            generation = await catalog.create_generation(
                collection, fingerprint, np.zeros((1, dimensions), dtype=np.float32), {"chunking": {}}
            )
            starts = range(0, len(corpus), chunks_per_document)
            for batch in range(0, len(starts), TOGETHER):
                chosen = starts[batch : batch + TOGETHER]
                await catalog.publish(generation, [_version(corpus, start, chunks_per_document) for start in chosen])
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        return queried(server.url, TABLES)
    finally:
        server.stop()


def _version(corpus: Corpus, first: int, size: int) -> NewVersion:
    """A document of one section, whose chunks follow one another."""
    texts = corpus.texts[first : first + size]
    prefix = f"Document {first}\n\n"
    chunks, start = [], 0
    for ordinal, text in enumerate(texts):
        end = start + len(text)
        chunks.append(
            Chunk(ordinal=ordinal, section=0, start=start, end=end, text=text, prefix=prefix, tokens=len(text) // 4)
        )
        start = end + 1
    whole = "\n".join(texts)
    return NewVersion(
        uri=f"bench:///{first}.md",
        source="bench",
        revision=f"{len(whole)}:1",
        content_hash=hashlib.sha256(whole.encode()).digest(),
        document=Document(
            title=f"Document {first}",
            media_type="text/markdown",
            text=whole,
            sections=(Section(ordinal=0, parent=None, level=0, path=(), start=0, end=len(whole)),),
            blocks=(),
            metadata={"language": "en", "year": 1990 + first % 35},
        ),
        chunks=chunks,
        vectors=np.array(corpus.vectors[first : first + size], dtype=np.float32),
        modified_at=PUBLISHED,
    )
