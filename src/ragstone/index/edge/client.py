"""The index as every process but its own sees it: a client of the socket, which starts the process when need be."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ragstone.errors import IndexFailure, IndexReadOnly, IndexUnavailable, WrongDimensions
from ragstone.index.base import Health
from ragstone.index.edge import wire
from ragstone.index.edge.dimensions import refuse_wrong
from ragstone.index.edge.endpoint import Endpoint
from ragstone.index.edge.faults import from_os
from ragstone.index.edge.launch import Launch, launch
from ragstone.index.edge.snapshot import Snapshot
from ragstone.index.filters import Filter
from ragstone.models import Entry, Hit, Replacement, Scope

START_LIMIT = 30.0  # seconds for a process to come up
POOL = 4  # idle connections kept

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
KINDS = {kind.code: kind for kind in (IndexUnavailable, IndexReadOnly, WrongDimensions)}
Lost = (ConnectionError, FileNotFoundError, asyncio.IncompleteReadError)


class EdgeIndex:
    """An Index served by Qdrant Edge. Belongs to one event loop; `open` makes it."""

    def __init__(self, endpoint: Endpoint, settings: Launch, ef: int | None) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._ef = ef
        self._idle: list[Stream] = []
        # The position waited for last and reached: no answer may come from before it. A catalog that was restored from
        # a backup goes back, and this with it.
        self._seen = 0
        self._started: int | None = None  # the process that this one started and has not waited for yet

    @classmethod
    def open(
        cls,
        data_dir: Path,
        database_url: str | None,
        *,
        ef: int | None = None,
        linger: float = 60.0,
        follow: bool = True,
        build_after: int = 10_000,
    ) -> EdgeIndex:
        """Start the process of a data folder if none runs, without waiting for it: the first call does.

        Without `follow`, the process does not open the catalog and only `apply` feeds it. The settings of the
        process are those of the client that started it; `ef` is each client's own, for searches that name none.
        Raises IndexUnavailable, or IndexReadOnly when the folder cannot be written.
        """
        settings = Launch(
            data_dir=os.fspath(data_dir.absolute()),
            database_url=database_url,
            follow=follow,
            linger=linger,
            build_after=build_after,
        )
        try:
            index = cls(Endpoint(data_dir), settings, ef)
            index._start_unless_running()
        except OSError as error:
            raise _unusable(data_dir, error) from error
        return index

    async def source(self) -> str:
        header, _ = await self._call({"do": "source"})
        return str(header["source"])

    async def position(self) -> int:
        header, _ = await self._call({"do": "position"})
        return int(header["position"])

    async def reset(self, source: str) -> None:
        """A process that follows the catalog by itself begins anew with its first change at once."""
        self._seen = 0
        await self._call({"do": "reset", "source": source})

    async def apply(self, replacements: Sequence[Replacement], position: int) -> None:
        refuse_wrong(replacements, {})
        headers, body = wire.pack_replacements(replacements)
        await self._call({"do": "apply", "replacements": headers, "position": position}, body)

    async def search(
        self,
        scope: Scope,
        *,
        vector: npt.NDArray[np.float32] | None,
        text: str | None,
        limit: int,
        where: Filter | None = None,
        ef: int | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        header = {"do": "search", "scope": wire.pack_scope(scope), "text": text, "limit": limit, "exact": exact}
        header |= {"where": wire.pack_filter(where), "ef": ef or self._ef, "from": self._seen}
        _, body = await self._call(header, wire.pack_vector(vector))
        return wire.unpack_hits(body)

    async def count(self, scope: Scope, where: Filter | None = None) -> int:
        header = {"do": "count", "scope": wire.pack_scope(scope), "where": wire.pack_filter(where)}
        answer, _ = await self._call(header)
        return int(answer["count"])

    async def scan(self, scope: Scope) -> AsyncIterator[Sequence[Entry]]:
        start: str | None = None
        while True:
            header, body = await self._call({"do": "scan", "scope": wire.pack_scope(scope), "start": start})
            if entries := wire.unpack_entries(body):
                yield entries
            if (start := header["next"]) is None:
                return

    async def scopes(self) -> list[Scope]:
        header, _ = await self._call({"do": "scopes"})
        return [wire.unpack_scope(scope) for scope in header["scopes"]]

    async def drop(self, scope: Scope) -> None:
        await self._call({"do": "drop", "scope": wire.pack_scope(scope)})

    async def health(self) -> Health:
        """`details`: the number of the process, vector spaces, and 1 or 0 for whether one is being built."""
        header, _ = await self._call({"do": "health"})
        return Health(engine="edge", version=version("qdrant-edge-py"), **header)

    async def wait(self, position: int, timeout: float) -> bool:
        header, _ = await self._call({"do": "wait", "position": position, "timeout": timeout})
        if header["reached"]:
            self._seen = position
        return bool(header["reached"])

    async def snapshot(self, target: Path) -> Snapshot:
        """Write one file that `restore` can put in the place of an index, while searches go on.

        Writes pause while the files are copied; packing them, which takes longer, is done by another process. A file
        that is there is replaced once the new one is whole and on disk. Raises IndexReadOnly when there is no room or
        no permission, IndexFailure when it cannot be written for another reason.
        """
        absolute = Path.cwd() / target  # the process has a working folder of its own
        header, _ = await self._call({"do": "snapshot", "target": os.fspath(absolute)})
        return Snapshot(**header)

    async def aclose(self) -> None:
        """Close the connections. The process stays for its other clients, and a while for the next."""
        await self._disconnect()
        self._reap()

    # --- calls ----------------------------------------------------------------------------------------------

    async def _call(self, header: wire.Header, body: bytes = b"") -> wire.Frame:
        """Send a request and await its answer; one that was under way when the process died is sent once more."""
        request = wire.frame(header, body)
        try:
            answer = await self._exchange(request)
        except Lost:
            await self._disconnect()
            try:
                answer = await self._exchange(request)
            except Lost as error:
                raise self._unavailable("the index process died twice over one request") from error
        if "error" in answer[0]:
            kind = KINDS.get(answer[0]["code"], IndexFailure)
            raise kind(answer[0]["error"], hint=answer[0]["hint"])
        return answer

    async def _exchange(self, request: bytes) -> wire.Frame:
        reader, writer = stream = self._idle.pop() if self._idle else await self._connect()
        try:
            writer.write(request)
            answer = await wire.read(reader)
        except BaseException:
            # Cancelled or broken in the middle of a frame: whatever comes next on it belongs to nobody.
            writer.close()
            raise
        if len(self._idle) < POOL:
            self._idle.append(stream)
        else:
            writer.close()
        return answer

    async def _connect(self) -> Stream:
        """A connection to a process that suits; waits for one to start. Raises IndexUnavailable."""
        try:
            async with asyncio.timeout(START_LIMIT):
                while True:
                    try:
                        return await self._greet()
                    except Lost:
                        self._start_unless_running()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise self._unavailable(f"the index process did not start within {START_LIMIT:.0f} s") from None
        except OSError as error:
            raise _unusable(self._endpoint.folder, error) from error

    async def _greet(self) -> Stream:
        address = self._endpoint.address()
        if address is None:
            raise FileNotFoundError
        reader, writer = stream = await asyncio.open_unix_connection(address)
        writer.write(wire.frame({"signature": self._settings.signature}))
        try:
            header, _ = await wire.read(reader)
        except BaseException:
            writer.close()
            raise
        if header["welcome"] == "yes":
            return stream
        writer.close()
        if header["welcome"] == "leaving":
            raise ConnectionError
        raise IndexUnavailable(
            f"process {header['process']} serves this index with another version or another database",
            hint="stop the Ragstone processes that use this data folder, then try again",
        )

    async def _disconnect(self) -> None:
        idle, self._idle = self._idle, []
        for _, writer in idle:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    # --- the process ----------------------------------------------------------------------------------------

    def _start_unless_running(self) -> None:
        if self._reap() > 0:
            raise self._unavailable("the index process failed")
        if self._started is None and not self._endpoint.answers():
            self._started = launch(self._settings, self._endpoint)

    def _reap(self) -> int:
        """Take note of the end of the process this one started; returns its exit status, 0 when nothing ended."""
        if self._started is None:
            return 0
        try:
            number, status = os.waitpid(self._started, os.WNOHANG)
        except ChildProcessError:
            number, status = self._started, 0
        if number:
            self._started = None
        return os.waitstatus_to_exitcode(status) if number else 0

    def _unavailable(self, message: str) -> IndexUnavailable:
        return IndexUnavailable(message, hint=f"see {self._endpoint.log}")


def _unusable(folder: Path, error: OSError) -> IndexFailure:
    mapped = from_os(error.errno, f"the index in {folder} cannot be used: {error}")
    if isinstance(mapped, IndexReadOnly):
        return mapped
    return IndexUnavailable(str(mapped), hint="set data_dir to a folder you own")
