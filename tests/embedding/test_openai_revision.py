"""What happens when an endpoint's model changes under its name: on a real catalog, over real HTTP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from ragstone.app import Ragstone, open_ragstone
from ragstone.errors import FingerprintMismatch
from ragstone.settings import ChunkingSettings, EmbeddingSettings, IndexSettings, Settings

FACT = "The kettle on the second floor is descaled every Thursday."


class Model(ThreadingHTTPServer):
    """An endpoint with a model of random vectors; other `weights` are another model under the same name."""

    weights = "first"

    def vector(self, text: str) -> list[float]:
        seed = int.from_bytes(hashlib.sha256(f"{self.weights} {text}".encode()).digest()[:8])
        return [float(value) for value in np.random.default_rng(seed).normal(size=64)]


class Handler(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        rows = [{"object": "embedding", "index": i, "embedding": self.server.vector(t)} for i, t in enumerate(texts)]
        body = json.dumps({"object": "list", "model": "m", "data": rows, "usage": {}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def model() -> Iterator[Model]:
    with Model(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.05,)).start()
        yield server
        server.shutdown()


@pytest.fixture
def settings(model: Model, database_url: str, tmp_path: Path) -> Settings:
    embedding = EmbeddingSettings(
        provider="openai",
        model="m",
        base_url=f"http://127.0.0.1:{model.server_port}/v1",
        dimensions=64,
        max_tokens=9999,
    )
    (tmp_path / "tea.md").write_text(FACT)
    return Settings(
        data_dir=tmp_path / "data",
        database={"url": database_url},
        index=IndexSettings(url="exact"),
        embedding=embedding,
        chunking=ChunkingSettings(prefix=False),
    )


async def index(ragstone: Ragstone, folder: Path) -> None:
    await ragstone.upkeep.sync(ragstone.upkeep.source(str(folder / "tea.md")), lambda progress: None)


async def test_a_model_changed_under_its_name_is_refused_until_its_revision_is_set(
    settings: Settings, model: Model, tmp_path: Path
) -> None:
    async with open_ragstone(settings) as ragstone:
        await index(ragstone, tmp_path)
    model.weights = "second"
    async with open_ragstone(settings) as ragstone:
        with pytest.raises(FingerprintMismatch, match="changed under its name") as asked:
            await ragstone.search("kettle")
        with pytest.raises(FingerprintMismatch, match="changed under its name"):
            await ragstone.upkeep.reindex(lambda progress: None)
    assert "embedding.revision" in asked.value.hint

    revised = settings.embedding.model_copy(update={"revision": "second"})
    async with open_ragstone(settings.model_copy(update={"embedding": revised})) as ragstone:
        with pytest.raises(FingerprintMismatch, match="quarantine") as compared:
            await index(ragstone, tmp_path)
        assert "ragstone reindex" in compared.value.hint
        done = await ragstone.upkeep.reindex(lambda progress: None)
        assert (done.comparison, done.objections) == (None, [])
        found = await ragstone.search(FACT)
    assert found.passages[0].cosine == pytest.approx(1)


async def test_another_collection_cannot_mix_the_vectors_of_both_models(
    settings: Settings, model: Model, tmp_path: Path
) -> None:
    async with open_ragstone(settings) as ragstone:
        await index(ragstone, tmp_path)
    model.weights = "second"
    async with open_ragstone(settings.model_copy(update={"collection": "other"})) as ragstone:
        with pytest.raises(FingerprintMismatch, match="changed under its name"):
            await index(ragstone, tmp_path)
