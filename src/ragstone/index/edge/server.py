"""Serves the index of one data folder to every process that asks, and keeps it up to date with the catalog."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from ragstone.errors import IndexFailure, IndexUnavailable, RagstoneError
from ragstone.index.edge import wire
from ragstone.index.edge.builder import Builder
from ragstone.index.edge.endpoint import Ownership
from ragstone.index.edge.follow import follow
from ragstone.index.edge.launch import Launch
from ragstone.index.edge.local import LocalIndex

logger = logging.getLogger(__name__)

FIRST_CLIENT = 10.0  # seconds that a new process stays at least if nobody comes
REBUILT = 10.0  # seconds that a search waits for a rebuild
WATCH = 0.25  # seconds between looks at the folder and at the time


async def serve(settings: Launch, folder: Path, ownership: Ownership) -> None:
    """Until the process has had no client for `linger` seconds, is told to leave, or its folder is gone."""
    index = LocalIndex(folder)
    builder = Builder(index, settings.build_after)
    server = Server(settings, index, builder)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.leave, f"told to by {number.name}")
    listener = await asyncio.start_unix_server(server.connected, sock=ownership.listen())
    tasks = [asyncio.create_task(builder.run())]
    if settings.follow:
        tasks.append(asyncio.create_task(follow(Path(settings.data_dir), settings.database_url, index)))
    for task in tasks:
        task.add_done_callback(server.bereft)
    logger.info("serving %s from position %d", folder, await index.position())
    try:
        await server.stay(ownership)
    finally:
        ownership.leave()
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if ownership.valid():
        index.close()
    logger.info("left")


class Server:
    """Answers connections. One frame in, one frame out, in order."""

    def __init__(self, settings: Launch, index: LocalIndex, builder: Builder) -> None:
        self.leaving = asyncio.Event()
        self._settings = settings
        self._index = index
        self._builder = builder
        self._connections: set[asyncio.StreamWriter] = set()
        # A new process waits a little longer, for whoever started it.
        self._idle_since = asyncio.get_running_loop().time() + max(0.0, FIRST_CLIENT - settings.linger)
        self._answers: dict[str, Callable[[wire.Header, bytes], Awaitable[wire.Frame]]] = {
            "search": self._search,
            "count": self._count,
            "position": self._position,
            "wait": self._wait,
            "apply": self._apply,
            "status": self._status,
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
        except (RagstoneError, OSError) as error:
            code = getattr(error, "code", IndexFailure.code)
            return {"error": str(error), "hint": getattr(error, "hint", ""), "code": code}, b""

    async def _search(self, header: wire.Header, body: bytes) -> wire.Frame:
        """A process that was just started may have everything to apply again: it answers once it knows as much."""
        if not await self._index.wait(header["from"], REBUILT):
            raise IndexUnavailable("the index is being rebuilt", hint="try again soon; `ragstone status` shows how far")
        hits = self._index.search(
            wire.unpack_scope(header["scope"]),
            vector=wire.unpack_vector(body),
            text=header["text"],
            limit=header["limit"],
            ef=header["ef"],
        )
        return {}, wire.pack_hits(hits)

    async def _count(self, header: wire.Header, body: bytes) -> wire.Frame:
        return {"count": self._index.count(wire.unpack_scope(header["scope"]))}, b""

    async def _position(self, header: wire.Header, body: bytes) -> wire.Frame:
        return {"position": await self._index.position()}, b""

    async def _wait(self, header: wire.Header, body: bytes) -> wire.Frame:
        return {"reached": await self._index.wait(header["position"], header["timeout"])}, b""

    async def _apply(self, header: wire.Header, body: bytes) -> wire.Frame:
        await self._index.apply(wire.unpack_replacements(header["replacements"], body), header["position"])
        return {}, b""

    async def _status(self, header: wire.Header, body: bytes) -> wire.Frame:
        store = self._index.store
        status = {
            "process": os.getpid(),
            "position": await self._index.position(),
            "points": sum(shard.size() for shard in store.shards.values()),
            "unbuilt": sum(space.changed for space in store.state.spaces.values()),
            "building": self._builder.building is not None,
        }
        return status, b""
