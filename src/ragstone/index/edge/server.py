"""Serves the index of one data folder to every process that asks, and keeps it up to date with the catalog."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

from ragstone.errors import IndexFailure, IndexUnavailable, RagstoneError
from ragstone.index.edge import wire
from ragstone.index.edge.builder import Builder
from ragstone.index.edge.endpoint import Ownership
from ragstone.index.edge.faults import from_os
from ragstone.index.edge.follow import Following
from ragstone.index.edge.launch import Launch
from ragstone.index.edge.local import LocalIndex
from ragstone.index.edge.snapshot import take

logger = logging.getLogger(__name__)

FIRST_CLIENT = 10.0  # seconds that a new process stays at least if nobody comes
REBUILT = 10.0  # seconds that a search waits for a rebuild
BREADTH = 128  # of a graph search that is not told how broad to be: recall .99 in 50,000 points, .98 in 500,000
WATCH = 0.25  # seconds between looks at the folder and at the time


async def serve(settings: Launch, folder: Path, ownership: Ownership) -> None:
    """Until the process has had no client for `linger` seconds, is told to leave, or its folder is gone."""
    index = LocalIndex(folder)
    builder = Builder(index, settings.build_after)
    following = Following(settings, index)
    server = Server(settings, index, builder, following)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.leave, f"told to by {number.name}")
    listener = await asyncio.start_unix_server(server.connected, sock=ownership.listen())
    building = asyncio.create_task(builder.run())
    building.add_done_callback(server.bereft)
    following.start(server.bereft)
    logger.info("serving %s from position %d", folder, await index.position())
    try:
        await server.stay(ownership)
    finally:
        ownership.leave()
        listener.close()
        building.cancel()
        await asyncio.gather(building, following.stop(), return_exceptions=True)
    if ownership.valid():
        index.close()
    logger.info("left")


class Server:
    """Answers connections. One frame in, one frame out, in order."""

    def __init__(self, settings: Launch, index: LocalIndex, builder: Builder, following: Following) -> None:
        self.leaving = asyncio.Event()
        self._settings = settings
        self._index = index
        self._builder = builder
        self._following = following
        self._connections: set[asyncio.StreamWriter] = set()
        # A new process waits a little longer, for whoever started it.
        self._idle_since = asyncio.get_running_loop().time() + max(0.0, FIRST_CLIENT - settings.linger)
        self._answers: dict[str, Callable[[wire.Header, bytes], Awaitable[wire.Frame]]] = {
            "search": self._search,
            "count": self._count,
            "scan": self._scan,
            "scopes": self._scopes,
            "drop": self._drop,
            "source": self._source,
            "position": self._position,
            "wait": self._wait,
            "apply": self._apply,
            "reset": self._reset,
            "snapshot": self._snapshot,
            "health": self._health,
        }

    def leave(self, reason: str) -> None:
        logger.info("leaving: %s", reason)
        self.leaving.set()

    def bereft(self, task: asyncio.Task[None]) -> None:
        """A task that ends by itself met a fault, such as a panic of the engine, that only a new process mends."""
        if not task.cancelled():
            logger.critical("a part of this process ended", exc_info=task.exception())
            self.leave("only a new process can mend this")

    async def stay(self, ownership: Ownership) -> None:
        """Returns when it is time to go."""
        loop = asyncio.get_running_loop()
        while not self.leaving.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.leaving.wait(), WATCH)
            if not ownership.valid():
                self.leave("the index folder was deleted")
            if self._builder.building:
                self._idle_since = max(self._idle_since, loop.time())
            elif not self._connections and loop.time() - self._idle_since >= self._settings.linger:
                self.leave("nobody needs the index")

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await self._welcome(reader, writer):
                while True:
                    header, body = await wire.read(reader)
                    writer.write(wire.frame(*await self._answer(header, body)))
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if writer in self._connections:
                self._connections.remove(writer)
                self._idle_since = asyncio.get_running_loop().time()
            writer.close()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Compare signatures. A process that nobody else uses makes room for one that suits the caller."""
        header, _ = await wire.read(reader)
        suits = header.get("signature") == self._settings.signature
        if not suits and not self._connections:
            self.leave("a process with other settings takes over")
        welcome = "leaving" if self.leaving.is_set() else "yes" if suits else "taken"
        if welcome == "yes":
            self._connections.add(writer)
        writer.write(wire.frame({"welcome": welcome, "process": os.getpid()}))
        await writer.drain()
        return welcome == "yes"

    async def _answer(self, header: wire.Header, body: bytes) -> wire.Frame:
        try:
            answer = self._answers.get(header["do"])
            if answer is None:
                raise IndexFailure(f"unknown request {header['do']!r}")
            return await answer(header, body)
        except OSError as error:
            return _refusal(from_os(error.errno, f"the index folder: {error}"))
        except RagstoneError as error:
            return _refusal(error)

    async def _search(self, header: wire.Header, body: bytes) -> wire.Frame:
        """A process that was just started may have everything to apply again: it answers once it knows as much."""
        if not await self._index.wait(header["from"], REBUILT):
            raise IndexUnavailable("the index is being rebuilt", hint="try again soon; `ragstone status` shows how far")
        hits = self._index.store.search(
            wire.unpack_scope(header["scope"]),
            vector=wire.unpack_vector(body),
            text=header["text"],
            limit=header["limit"],
            where=wire.unpack_filter(header["where"]),
            ef=header["ef"] or BREADTH,
            exact=header["exact"],
        )
        return {}, wire.pack_hits(hits)

    async def _count(self, header: wire.Header, body: bytes) -> wire.Frame:
        where = wire.unpack_filter(header["where"])
        return {"count": self._index.store.count(wire.unpack_scope(header["scope"]), where)}, b""

    async def _scan(self, header: wire.Header, body: bytes) -> wire.Frame:
        start = header["start"] and UUID(header["start"])
        entries, after = self._index.store.scan(wire.unpack_scope(header["scope"]), start)
        return {"next": None if after is None else str(after)}, wire.pack_entries(entries)

    async def _scopes(self, header: wire.Header, body: bytes) -> wire.Frame:
        return {"scopes": [wire.pack_scope(scope) for scope in self._index.store.scopes()]}, b""

    async def _drop(self, header: wire.Header, body: bytes) -> wire.Frame:
        await self._index.drop(wire.unpack_scope(header["scope"]))
        return {}, b""

    async def _source(self, header: wire.Header, body: bytes) -> wire.Frame:
        return {"source": await self._index.source()}, b""

    async def _position(self, header: wire.Header, body: bytes) -> wire.Frame:
        return {"position": await self._index.position()}, b""

    async def _wait(self, header: wire.Header, body: bytes) -> wire.Frame:
        return {"reached": await self._index.wait(header["position"], header["timeout"])}, b""

    async def _apply(self, header: wire.Header, body: bytes) -> wire.Frame:
        await self._index.apply(wire.unpack_replacements(header["replacements"], body), header["position"])
        return {}, b""

    async def _reset(self, header: wire.Header, body: bytes) -> wire.Frame:
        async with self._following.paused():
            await self._index.reset(header["source"])
        return {}, b""

    async def _snapshot(self, header: wire.Header, body: bytes) -> wire.Frame:
        return asdict(await take(self._index, Path(header["target"]))), b""

    async def _health(self, header: wire.Header, body: bytes) -> wire.Frame:
        store, building = self._index.store, self._builder.building is not None
        sizes = {name: shard.size() for name, shard in store.shards.items()}
        health = {
            "state": "read_only" if self._index.read_only else "building" if building else "ready",
            "position": await self._index.position(),
            "points": sum(sizes.values()),
            "unbuilt": sum(min(space.changed, sizes[name]) for name, space in store.state.spaces.items()),
            "details": {"process": os.getpid(), "spaces": len(sizes), "building": int(building)},
        }
        return health, b""


def _refusal(error: RagstoneError) -> wire.Frame:
    return {"error": str(error), "hint": error.hint, "code": error.code}, b""
