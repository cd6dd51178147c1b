"""Stands in for a Weaviate server: its REST and gRPC doors over objects in memory.

It does what Weaviate's documentation and source say that a server does with the few requests that the engine sends,
and refuses all others. So it shows what the engine sends and what it makes of answers; that a server takes it so, only
a server can show (RAGSTONE_TEST_WEAVIATE_URL).
"""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import grpc  # type: ignore[import-untyped]
import numpy as np
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from weaviate.proto.v1 import (
    aggregate_pb2,
    base_pb2,
    batch_delete_pb2,
    batch_pb2,
    properties_pb2,
    search_get_pb2,
    weaviate_pb2_grpc,
)

MOST_RESULTS = 10_000
MOST_DELETED = 100


Vector = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(slots=True)
class Stored:
    properties: dict[str, Any]
    vector: Vector
    tokens: dict[str, Counter[str]]  # by property


Shard = dict[UUID, Stored]


@dataclass(slots=True)
class Collection:
    schema: dict[str, Any]
    shards: dict[str, Shard]  # by tenant; "" where there are none

    def store(self, tenant: str, chunk: UUID, properties: dict[str, Any], vector: Vector) -> None:
        texts = {name: [value] if isinstance(value, str) else value for name, value in properties.items()}
        tokens = {
            name: Counter(token for text in value for token in self.split(name, text))
            for name, value in texts.items()
            if isinstance(value, list)
        }
        self.shards[tenant][chunk] = Stored(properties, vector, tokens)

    def split(self, name: str, text: str) -> list[str]:
        kind = next(each["tokenization"] for each in self.schema["properties"] if each["name"] == name)
        return text.split() if kind == "whitespace" else [text.strip()]


@dataclass(slots=True)
class StandIn:
    """A server. Change its fields to make it another one; `requests` holds what was sent by gRPC."""

    version: str = "1.33.4"
    key: str | None = None
    read_only: bool = False
    collections: dict[str, Collection] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    ports: tuple[int, int] = (0, 0)
    _stop: list[Callable[[], object]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return "http://127.0.0.1:{}?grpc={}".format(*self.ports)

    def start(self) -> None:
        """At the ports that it had before, if it was stopped."""
        rest = ThreadingHTTPServer(("127.0.0.1", self.ports[0]), _rest(self))
        rest.daemon_threads = True
        rpc = grpc.server(ThreadPoolExecutor(4))
        weaviate_pb2_grpc.add_WeaviateServicer_to_server(_Calls(self), rpc)  # type: ignore[no-untyped-call]
        self.ports = rest.server_address[1], rpc.add_insecure_port(f"127.0.0.1:{self.ports[1]}")
        rpc.start()
        thread = threading.Thread(target=rest.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self._stop = [rest.shutdown, thread.join, rest.server_close, lambda: rpc.stop(0).wait()]

    def stop(self) -> None:
        for each in self._stop:
            each()
        self._stop = []

    def sent(self, kind: type) -> list[Any]:
        return [each for each in self.requests if isinstance(each, kind)]


# --- filters and searches -------------------------------------------------------------------------------------------


def _filter(of: Collection, where: base_pb2.Filters) -> Callable[[UUID, Stored], bool]:
    """Whether a point meets it."""
    kind = base_pb2.Filters.Operator.Name(where.operator).removeprefix("OPERATOR_")
    parts = [_filter(of, part) for part in where.filters]
    match kind:
        case "AND":
            return lambda chunk, stored: all(part(chunk, stored) for part in parts)
        case "OR":
            return lambda chunk, stored: any(part(chunk, stored) for part in parts)
        case "NOT":
            return lambda chunk, stored: not parts[0](chunk, stored)
    name = where.target.property
    asked = list(where.value_text_array.values) or [where.value_text]
    if name == "_id":
        chunks = {UUID(each) for each in asked}
        return lambda chunk, stored: chunk in chunks
    searched = next(each for each in of.schema["properties"] if each["name"] == name)
    assert searched["indexFilterable"], name
    tokens = {token for text in asked for token in of.split(name, text)}
    wanted = {"EQUAL": True, "CONTAINS_ANY": True, "NOT_EQUAL": False}[kind]
    return lambda chunk, stored: tokens.isdisjoint(stored.tokens.get(name, ())) is not wanted


def _bm25(of: Collection, shard: Shard, found: Iterable[UUID], query: str) -> dict[UUID, float]:
    """k1 and b as the collection has them; rarity of the whole tenant, whatever the filter."""
    k1, b = (of.schema["invertedIndexConfig"]["bm25"][name] for name in ("k1", "b"))
    texts = {chunk: stored.tokens["bag"] for chunk, stored in shard.items()}
    average = sum(text.total() for text in texts.values()) / max(len(texts), 1) or 1.0
    scores: Counter[UUID] = Counter()
    for word in set(query.split()):
        n = sum(word in text for text in texts.values())
        idf = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
        for chunk in found:
            if times := texts[chunk][word]:
                length = k1 * (1 - b + b * texts[chunk].total() / average)
                scores[chunk] += idf * times * (k1 + 1) / (times + length)
    return {chunk: float(np.float32(score)) for chunk, score in scores.most_common()}


def _distances(shard: Shard, found: Iterable[UUID], vector: bytes) -> dict[UUID, float]:
    asked = _unit(np.frombuffer(vector, dtype="<f4"))
    each = {chunk: float(np.float32(1 - asked @ _unit(shard[chunk].vector))) for chunk in found}
    return dict(sorted(each.items(), key=lambda item: item[1]))


def _unit(vector: Vector) -> Vector:
    return vector / (np.linalg.norm(vector) or 1.0)


# --- gRPC -----------------------------------------------------------------------------------------------------------


class _Calls(weaviate_pb2_grpc.WeaviateServicer):
    def __init__(self, server: StandIn) -> None:
        self._server = server
        self._lock = threading.Lock()

    def Search(self, request: Any, context: Any) -> search_get_pb2.SearchReply:  # noqa: N802
        of, shard = self._shard(request, context)
        if request.limit > MOST_RESULTS:
            context.abort(grpc.StatusCode.UNKNOWN, "query maximum results exceeded")
        with self._lock:
            found = self._within(of, shard, request)
            distances: dict[UUID, float] = {}
            scores: dict[UUID, float] = {}
            if request.HasField("near_vector"):
                near = request.near_vector
                distances = _distances(
                    shard, found, near.vectors[0].vector_bytes if near.vectors else near.vector_bytes
                )
                found = list(distances)
            elif request.HasField("bm25_search"):
                assert request.bm25_search.properties == ["bag"]
                scores = _bm25(of, shard, found, request.bm25_search.query)
                found = list(scores)
            elif request.after:
                found = [chunk for chunk in found if chunk > UUID(request.after)]
            some = found[: request.limit or 10]
            return search_get_pb2.SearchReply(
                results=[_result(request, c, shard[c], distances.get(c), scores.get(c)) for c in some]
            )

    def Aggregate(self, request: Any, context: Any) -> aggregate_pb2.AggregateReply:  # noqa: N802
        of, shard = self._shard(request, context)
        with self._lock:
            count = len(self._within(of, shard, request))
        return aggregate_pb2.AggregateReply(single_result=aggregate_pb2.AggregateReply.Single(objects_count=count))

    def BatchObjects(self, request: Any, context: Any) -> batch_pb2.BatchObjectsReply:  # noqa: N802
        self._enter(request, context)
        reply = batch_pb2.BatchObjectsReply()
        for index, each in enumerate(request.objects):
            if self._server.read_only and index % 2 == 0:
                reply.errors.add(index=index, error="put object: store is read-only due to: disk usage too high")
                continue
            with self._lock:
                of = self._server.collections[each.collection]
                of.store(each.tenant, UUID(each.uuid), _properties(each), _vector(each))
        return reply

    def BatchDelete(self, request: Any, context: Any) -> batch_delete_pb2.BatchDeleteReply:  # noqa: N802
        of, shard = self._shard(request, context)
        with self._lock:
            found = self._within(of, shard, request)[:MOST_DELETED]
            for chunk in found:
                del shard[chunk]
        return batch_delete_pb2.BatchDeleteReply(matches=len(found), successful=len(found))

    def _within(self, of: Collection, shard: Shard, request: Any) -> list[UUID]:
        """In the order of ids."""
        if not request.HasField("filters"):
            return sorted(shard)
        meets = _filter(of, request.filters)
        return sorted(chunk for chunk, stored in shard.items() if meets(chunk, stored))

    def _enter(self, request: Any, context: Any) -> None:
        self._server.requests.append(request)
        given = dict(context.invocation_metadata()).get("authorization")
        if self._server.key and given != f"Bearer {self._server.key}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthorized: invalid api key")

    def _shard(self, request: Any, context: Any) -> tuple[Collection, Shard]:
        self._enter(request, context)
        of = self._server.collections.get(request.collection)
        if of is None or request.tenant not in of.shards:
            context.abort(grpc.StatusCode.UNKNOWN, f"class {request.collection} or tenant {request.tenant} not found")
        assert of is not None
        return of, of.shards[request.tenant]


def _properties(sent: batch_pb2.BatchObject) -> dict[str, Any]:
    properties = MessageToDict(sent.properties.non_ref_properties)
    return {**properties, **{each.prop_name: list(each.values) for each in sent.properties.text_array_properties}}


def _vector(sent: batch_pb2.BatchObject) -> Vector:
    return np.frombuffer(sent.vectors[0].vector_bytes if sent.vectors else sent.vector_bytes, dtype="<f4")


def _result(
    request: Any, chunk: UUID, stored: Stored, distance: float | None, score: float | None
) -> search_get_pb2.SearchResult:
    asked = request.properties
    every = asked.return_all_nonref_properties or not request.HasField("properties")
    names = stored.properties if every else asked.non_ref_properties
    metadata = search_get_pb2.MetadataResult(id_as_bytes=chunk.bytes, id=str(chunk))
    metadata.creation_time_unix_present = metadata.last_update_time_unix_present = True
    if distance is not None and request.metadata.distance:
        metadata.distance, metadata.distance_present = distance, True
    if score is not None and request.metadata.score:
        metadata.score, metadata.score_present = score, True
    if request.metadata.vector or request.metadata.vectors:
        metadata.vectors.add(
            name="default", vector_bytes=stored.vector.tobytes(), type=base_pb2.Vectors.VECTOR_TYPE_SINGLE_FP32
        )
    fields = {name: _value(stored.properties[name]) for name in names if name in stored.properties}
    return search_get_pb2.SearchResult(
        metadata=metadata,
        properties=search_get_pb2.PropertiesResult(non_ref_props=properties_pb2.Properties(fields=fields)),
    )


def _value(stored: Any) -> properties_pb2.Value:
    if isinstance(stored, str):
        return properties_pb2.Value(text_value=stored)
    assert isinstance(stored, float)  # what a number became on its way
    return properties_pb2.Value(int_value=int(stored))


# --- REST -----------------------------------------------------------------------------------------------------------


def _rest(server: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path = self.path.partition("?")[0].removeprefix("/v1/").rstrip("/").split("/")
            if server.key and self.headers.get("authorization") != f"Bearer {server.key}":
                status, answer = 401, {"code": 401, "message": "anonymous access not enabled, or invalid api key"}
            else:
                status, answer = _routed(server, self.command, path, json.loads(body) if body else None)
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.send_header("connection", "close")  # else a client goes on talking to one that was stopped
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else data)

        do_GET = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Not to the terminal."""

    return Handler


def _routed(server: StandIn, method: str, path: list[str], body: Any) -> tuple[int, Any]:
    match method, path:
        case "GET", ["meta"]:
            return 200, {"version": server.version, "hostname": "stand-in", "modules": {}}
        case "GET", ["nodes"]:
            return 200, {"nodes": [{"name": "one", "status": "HEALTHY", "shards": list(_shards(server))}]}
        case "GET", [".well-known", "openid-configuration"]:
            return 404, None
        case "POST", ["schema"]:
            return 200, _created(server, body)
        case _, ["schema" | "objects", name, *rest] if name in server.collections:
            return _of_collection(server, name, method, rest, body)
        case "DELETE", _:
            return 200, None
    return 404, None


def _of_collection(server: StandIn, name: str, method: str, path: list[str], body: Any) -> tuple[int, Any]:
    shards = server.collections[name].shards
    match method, path:
        case "GET", []:
            return 200, server.collections[name].schema
        case "DELETE", []:
            del server.collections[name]
        case "POST", ["tenants"]:
            shards.update({each["name"]: {} for each in body})
        case "DELETE", ["tenants"]:
            for each in body:
                del shards[each]
        case "HEAD", ["tenants", tenant]:
            return 200 if tenant in shards else 404, None
        case "DELETE", [chunk]:
            return 204 if shards[""].pop(UUID(chunk), None) else 404, None
    return 200, body


def _created(server: StandIn, schema: Any) -> Any:
    for each in schema["properties"]:
        each.update({"indexFilterable": True, "indexSearchable": False, **each})
    tenants = schema.get("multiTenancyConfig", {}).get("enabled")
    server.collections[schema["class"]] = Collection(schema, {} if tenants else {"": {}})
    return schema


def _shards(server: StandIn) -> Iterator[dict[str, Any]]:
    for name, of in server.collections.items():
        for tenant, shard in of.shards.items():
            yield {
                "class": name,
                "name": tenant or "one",
                "objectCount": len(shard),
                "vectorIndexingStatus": "READONLY" if server.read_only else "READY",
                "vectorQueueLength": 0,
                "compressed": False,
            }
