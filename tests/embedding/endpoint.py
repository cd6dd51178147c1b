"""An embeddings endpoint on loopback that answers as a test wants it to, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeAlias

from ragstone.embedding.openai import OpenAIEmbedder

Answer: TypeAlias = tuple[int, dict[str, str], Any]
"""Status, headers and body. A function makes the body of the request; for status 0, the status too."""


@dataclass
class Endpoint:
    """An HTTP server that answers each request with the next of its answers, and the last one for ever."""

    answers: list[Answer]
    requests: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def refusing(self, word: str) -> Answer:
        """Vectors, but 400 for a request with the word in one of its texts."""

        def answer(request: dict[str, Any]) -> tuple[int, Any]:
            bad = any(word in text for text in request["input"])
            return (400, ERROR) if bad else (200, vectors(request))

        return 0, {}, answer

    def embedder(self, **changed: Any) -> OpenAIEmbedder:
        settings = {"model": "m", "dimensions": 3, "max_tokens": 999, "retries": 1, **changed}
        return OpenAIEmbedder(base_url=f"http://127.0.0.1:{self.port}/v1", **settings)


@contextmanager
def serving() -> Iterator[Endpoint]:
    endpoint = Endpoint(answers=[])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            endpoint.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, headers, body = endpoint.next()
            data = body(endpoint.requests[-1]) if callable(body) else body
            if not status:
                status, data = data
            payload = data.encode() if isinstance(data, str) else json.dumps(data).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        endpoint.port = server.server_port
        Thread(target=server.serve_forever, args=(0.01,)).start()
        yield endpoint
        server.shutdown()


def vectors(request: dict[str, Any], *, size: int = 3, scale: float = 1.0, reverse: bool = False) -> dict[str, Any]:
    """A right answer: each text's length, in a vector."""
    rows = [
        {"object": "embedding", "index": index, "embedding": [scale * len(text), *[scale] * (size - 1)]}
        for index, text in enumerate(request["input"])
    ]
    return {"object": "list", "model": "m", "data": rows[::-1] if reverse else rows, "usage": USAGE}


USAGE = {"prompt_tokens": 1, "total_tokens": 1}
ERROR = {"error": {"message": "told you", "code": None, "type": "error"}}
BUSY = (429, {"Retry-After": "0.01"}, ERROR)
