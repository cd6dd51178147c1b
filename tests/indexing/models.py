"""An embeddings endpoint on loopback with any number of models, whose weights a test may change under their names."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from ragstone.app import Ragstone
from ragstone.embedding.fingerprint import PROBES
from ragstone.indexing.report import Report
from ragstone.settings import EmbeddingSettings

SIZE = 64


class Models(ThreadingHTTPServer):
    """A model's vector of a text is the sum of its words'; where the weights are called noise, it means nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.weights: dict[str, str] = {}  # by model; its name where nothing is said
        self.embedded: dict[str, list[str]] = {}  # texts by model, in the order of arrival, without probes
        self.keys: set[str] = set()  # that were sent
        self.pause = 0.0  # seconds before each answer
        self.down = False

    def settings(self, model: str = "first", **changed: Any) -> EmbeddingSettings:
        return EmbeddingSettings(
            provider="openai",
            model=model,
            base_url=f"http://127.0.0.1:{self.server_port}/v1",
            dimensions=SIZE,
            max_tokens=9999,
            **changed,
        )

    def documents(self, model: str) -> list[str]:
        """The texts that the model has embedded so far."""
        return self.embedded.get(model, [])

    def answer(self, model: str, texts: Sequence[str], key: str) -> Sequence[Sequence[float]]:
        time.sleep(self.pause)
        self.keys.add(key)
        self.embedded.setdefault(model, []).extend(text for text in texts if text not in PROBES)
        return [_vector(self.weights.get(model, model), text) for text in texts]


class _Handler(BaseHTTPRequestHandler):
    server: Models

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        vectors = self.server.answer(request["model"], request["input"], self.headers.get("Authorization", ""))
        rows = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(vectors)]
        usage = {"prompt_tokens": len(rows), "total_tokens": len(rows)}  # one token a text
        body = json.dumps({"object": "list", "model": request["model"], "data": rows, "usage": usage}).encode()
        self.send_response(400 if self.server.down else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def _vector(weights: str, text: str) -> list[float]:
    words = [text] if weights == "noise" else re.findall(r"\w+", text.lower())
    seeds = (int.from_bytes(hashlib.sha256(f"{weights} {word}".encode()).digest()[:8]) for word in words)
    total = sum((np.random.default_rng(seed).normal(size=SIZE) for seed in seeds), np.full(SIZE, 1e-6))
    return [float(value) for value in total]


@contextmanager
def serving() -> Iterator[Models]:
    with Models() as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server
        server.shutdown()


def write(folder: Path, documents: Mapping[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in documents.items():
        (folder / name).write_text(text)


async def sync(ragstone: Ragstone, source: str) -> Report:
    """A pass over a source, and the index after it."""
    report = await ragstone.upkeep.sync(ragstone.upkeep.source(source), lambda report: None)
    assert await ragstone.caught_up(10)
    return report


async def answers(ragstone: Ragstone, question: str) -> str:
    """The texts that an answer would be drawn from."""
    found = await ragstone.search(question, ragstone.settings.retrieval.model_copy(update={"min_cosine": -1}))
    return "\n".join(passage.text for passage in found.passages)
