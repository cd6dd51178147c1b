"""The HTTP doors of a Qdrant server before qdrant-client's local mode, with faults on request.

Each body is read by the same models that a server's API is described with, so a request that a server would not
understand fails here too. What local mode answers is real; what a cluster does with it, only a server can show.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import TypeAdapter
from qdrant_client import QdrantClient
from qdrant_client import models as q
from qdrant_client.http.models import CreateCollection, CreateFieldIndex, UpdateOperations


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    options: dict[str, str]
    body: Any
    key: str


@dataclass(slots=True)
class Doors:
    """A server's state: what it was asked, and how it is out of order."""

    url: str = ""
    version: str = "1.20.0"
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)  # by method: status and message
    statuses: list[str] = field(default_factory=list)  # of the next writes; then completed
    asked: list[Request] = field(default_factory=list)
    local: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))

    def answer(self, request: Request) -> tuple[int, Any]:
        self.asked.append(request)
        if request.path == "/":
            return 200, {"title": "qdrant - vector search engine", "version": self.version}
        if request.method in self.refusals:
            status, message = self.refusals[request.method]
            return status, {"status": {"error": message}, "time": 0}
        result = _ROUTES[request.method, _pattern(request.path)](self, _collection(request.path), request.body)
        return 200, {"result": _ANY.dump_python(result, mode="json", exclude_none=True), "status": "ok", "time": 0.0}

    def written(self) -> dict[str, Any]:
        return {"operation_id": 0, "status": self.statuses.pop(0) if self.statuses else "completed"}

    def create(self, name: str, body: Any) -> bool:
        wanted = CreateCollection.model_validate(body)
        return self.local.create_collection(
            name,
            vectors_config=wanted.vectors,
            sparse_vectors_config=wanted.sparse_vectors,
            metadata=wanted.metadata,
        )

    def index(self, name: str, body: Any) -> dict[str, Any]:
        wanted = CreateFieldIndex.model_validate(body)
        self.local.create_payload_index(name, wanted.field_name, wanted.field_schema)
        return self.written()

    def update(self, name: str, body: Any) -> list[dict[str, Any]]:
        operations = UpdateOperations.model_validate(body).operations
        self.local.batch_update_points(name, operations)
        return [self.written() for _ in operations]

    def upsert(self, name: str, body: Any) -> dict[str, Any]:
        self.local.upsert(name, q.PointsList.model_validate(body).points)
        return self.written()

    def delete(self, name: str, body: Any) -> dict[str, Any]:
        self.local.delete(name, q.FilterSelector.model_validate(body))
        return self.written()

    def scroll(self, name: str, body: Any) -> dict[str, Any]:
        page = q.ScrollRequest.model_validate(body)
        points, following = self.local.scroll(
            name, page.filter, limit=page.limit or 10, offset=page.offset, with_payload=page.with_payload or False
        )
        return {"points": points, "next_page_offset": following}

    def query(self, name: str, body: Any) -> list[q.QueryResponse]:
        return self.local.query_batch_points(name, q.QueryRequestBatch.model_validate(body).searches)

    def count(self, name: str, body: Any) -> q.CountResult:
        return self.local.count(name, q.CountRequest.model_validate(body).filter)

    def facet(self, name: str, body: Any) -> q.FacetResponse:
        wanted = q.FacetRequest.model_validate(body)
        return self.local.facet(name, wanted.key, limit=wanted.limit or 10)

    def retrieve(self, name: str, body: Any) -> list[q.Record]:
        return self.local.retrieve(name, q.PointRequest.model_validate(body).ids)


Route = Callable[[Doors, str, Any], Any]
_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/collections"): lambda doors, _, __: doors.local.get_collections(),
    ("GET", "/collections/*"): lambda doors, name, _: doors.local.get_collection(name),
    ("GET", "/collections/*/exists"): lambda doors, name, _: {"exists": doors.local.collection_exists(name)},
    ("GET", "/cluster"): lambda *_: {"status": "disabled"},
    ("PUT", "/collections/*"): Doors.create,
    ("DELETE", "/collections/*"): lambda doors, name, _: doors.local.delete_collection(name),
    ("PUT", "/collections/*/index"): Doors.index,
    ("PUT", "/collections/*/points"): Doors.upsert,
    ("POST", "/collections/*/points/batch"): Doors.update,
    ("POST", "/collections/*/points/delete"): Doors.delete,
    ("POST", "/collections/*/points/scroll"): Doors.scroll,
    ("POST", "/collections/*/points/query/batch"): Doors.query,
    ("POST", "/collections/*/points/count"): Doors.count,
    ("POST", "/collections/*/facet"): Doors.facet,
    ("POST", "/collections/*/points"): Doors.retrieve,
}


def _collection(path: str) -> str:
    return (*path.split("/"), "", "")[2]


def _pattern(path: str) -> str:
    parts = path.split("/")
    return "/".join([*parts[:2], "*", *parts[3:]]) if len(parts) > 2 else path


@contextmanager
def open_doors(doors: Doors, port: int = 0) -> Iterator[None]:
    """Serves on a port of the loopback interface, any free one unless it is told, and notes the address."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = urlsplit(self.path)
            request = Request(
                method=self.command,
                path=parts.path.rstrip("/") or "/",
                options={name: values[0] for name, values in parse_qs(parts.query).items()},
                body=json.loads(body) if body else None,
                key=self.headers.get("api-key") or "",
            )
            with lock:
                try:
                    status, answer = doors.answer(request)
                except ValueError as error:  # local mode's refusal
                    status, answer = 404 if "not found" in str(error) else 400, {"status": {"error": str(error)}}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    server = Server(("127.0.0.1", port), Handler)
    doors.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
