"""Questions to a real catalog and an exact index."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from catalog.material import generation, version
from contracts.chunker import words
from ragstone.catalog.catalog import Catalog
from ragstone.chunking.make import make_chunker
from ragstone.embedding.local import LocalEmbedder
from ragstone.index.exact import ExactIndex
from ragstone.models import NewVersion, Scope
from ragstone.parsing.parse import parse
from ragstone.retrieval.pipeline import Retrieved, Retriever
from ragstone.settings import ChunkingSettings, RetrievalSettings

TEXT = "# Handbook\n\nAn introduction to it all. 😀\n\n" + "\n\n".join(
    f"## {animal}\n\nThe {animal} lives in the wood. It eats what it finds there. The {animal} sleeps by day."
    for animal in ("Fox", "Badger", "Owl")
)


def published(settings: ChunkingSettings) -> NewVersion:
    document = parse(TEXT.encode(), "handbook.md")
    chunks = make_chunker(settings, words, 10**6, lambda texts: np.zeros((len(texts), 4), np.float32)).chunk(document)
    made = version("file:///handbook.md", [])
    return NewVersion(
        uri=made.uri, source=made.source, revision="1", content_hash=b"1", document=document, chunks=chunks,
        vectors=np.ones((len(chunks), 4), np.float32),
    )  # fmt: skip


async def ask(catalog: Catalog, question: str, settings: ChunkingSettings) -> Retrieved:
    _, built = await generation(catalog)
    await catalog.publish(built, [published(settings)])
    index = ExactIndex()
    await index.apply(*await catalog.replacements(0, 100))
    retriever = Retriever(embedder=LocalEmbedder.open("all-MiniLM-L6-v2"), index=index, reader=catalog)
    scope = Scope(tenant=built.tenant, generation=built.id, fingerprint=built.fingerprint.digest)
    return await retriever.retrieve(question, scope, RetrievalSettings(mode="bm25", top_k=1))


@pytest.mark.parametrize("parent", ["none", "section"])
async def test_a_prompt_gets_parents_where_chunks_have_them(catalog: Catalog, parent: str) -> None:
    settings = ChunkingSettings.model_validate(
        {
            "strategy": "structure",
            "max_tokens": 16,
            "overlap": 0,
            "prefix": False,
            "parent": parent,
            "parent_tokens": 30,
        }
    )
    found = await ask(catalog, "Where does the badger live, and when does the badger sleep?", settings)
    best = found.passages[0]
    assert best.text == TEXT[best.start : best.end]
    section = TEXT[TEXT.index("## Badger") : TEXT.index("## Owl")].strip()
    assert (best.text == section) == (parent == "section")
    assert best.text in section
    stages = {stage.name: stage for stage in found.trace.stages}
    assert list(stages)[-3:] == ["dedup", "parents", "join"]
    assert (stages["parents"].taken, stages["parents"].given) == (1, 1)
    kept = {chunk_id: fate for chunk_id, fate in found.fates().items() if fate.startswith("passage")}
    assert set(kept) == {chunk_id for passage in found.passages for chunk_id in passage.chunk_ids}
    assert all(isinstance(chunk_id, UUID) for chunk_id in kept)
