"""Parsing in processes of their own: a document that crashes, loops or swells costs itself, and nothing beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from ragstone.errors import BrokenDocument, DocumentError, DocumentTooCostly, DocumentTooLarge, DocumentUnavailable
from ragstone.models import Document
from ragstone.parsing import wire
from ragstone.settings import ParsingSettings

if TYPE_CHECKING:
    import psutil  # type: ignore[import-untyped]

PARSER = "ragstone.parsing.parse:parse"

GLANCE = 0.02
"""Seconds between two looks at the memory of a process that is at work."""

STARTING = 60.0
"""Seconds after which a process that is not ready is given up."""

GRACE = 2.0
"""Seconds for a process that has closed its output to end by itself, and so to say why."""

KEPT = 4
"""A process that holds on to more than this part of the memory limit between documents is replaced."""

PASSED_ON = frozenset({"HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TESSDATA_PREFIX", "TMPDIR"})
"""Variables of the environment that a parser process gets, beside Python's own."""

MEBIBYTE = 2**20


class ParserPool:
    """Up to `size` processes, started when first needed and kept warm.

    `parser`: the function that they call, as `module:name`; it takes what `parse.parse` does.
    """

    def __init__(self, limits: ParsingSettings, size: int, parser: str = PARSER) -> None:
        self._limits = limits
        self._size = size
        self._parser = parser
        self._ocr = limits.ocr_languages if limits.ocr else None
        self._free = asyncio.Semaphore(size)
        self._idle: list[_Child] = []
        self._closed = False

    async def parse(self, data: bytes, name: str, charset: str | None = None) -> Document:
        """The document in these bytes, as `parse.parse` has it.

        Raises its DocumentErrors, DocumentTooLarge, DocumentTooCostly past the limit of time or memory,
        BrokenDocument when the process crashed on it, and DocumentUnavailable when none can be started.
        """
        if len(data) > self._limits.max_bytes:
            raise DocumentTooLarge(
                f"{name} has {len(data):,} bytes, the limit is {self._limits.max_bytes:,}",
                hint="raise parsing.max_bytes, or exclude it",
            )
        async with self._free:
            child = await self._child()
            try:
                return await child.parse(data, wire.Request(name=name, charset=charset, ocr=self._ocr))
            finally:
                if child.idle:
                    self._idle.append(child)
                else:
                    await child.end()

    async def aclose(self) -> None:
        """Waits for the documents that are being read, and ends all processes."""
        self._closed = True
        for _ in range(self._size):
            await self._free.acquire()
        while self._idle:
            await self._idle.pop().end()
        for _ in range(self._size):
            self._free.release()

    async def _child(self) -> _Child:
        if self._closed:
            raise RuntimeError("the pool is closed")
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            await child.end()
        return await _Child.start(self._parser, self._limits)


class _Child:
    """One process. `idle`: its last answer has come whole, so that its next one is the next document's."""

    def __init__(self, process: asyncio.subprocess.Process, limits: ParsingSettings) -> None:
        self._process = process
        self._limits = limits
        self._most_memory = limits.max_memory * MEBIBYTE
        self._watched: psutil.Process | None = None
        self._at_start = 0
        self._swollen = False
        self.idle = False

    @classmethod
    async def start(cls, parser: str, limits: ParsingSettings) -> _Child:
        """Raises DocumentUnavailable."""
        child = cls(await _spawn(parser, limits), limits)
        try:
            async with asyncio.timeout(STARTING):
                await child._ready()
        except (TimeoutError, EOFError):
            raise DocumentUnavailable(f"nothing can be parsed: a parser process {await child._ending()}") from None
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def parse(self, data: bytes, request: wire.Request) -> Document:
        self.idle = False
        reply = await self._answer(data, request)
        try:
            result = wire.decode_reply(reply)
        except ValueError as error:
            raise BrokenDocument(
                f"{request.name} cannot be read: its parser gave no proper answer ({error})"
            ) from error
        self.idle = not isinstance(result, DocumentTooCostly) and self._used() <= self._most_memory // KEPT
        if isinstance(result, DocumentError):
            raise result
        return result

    async def end(self) -> None:
        """Leaves nothing behind: not the process, nor what it started, nor unread output."""
        self._kill()
        await self._process.communicate()

    async def _answer(self, data: bytes, request: wire.Request) -> bytes:
        """Raises DocumentTooCostly, or BrokenDocument when the process ends instead."""
        watch = asyncio.create_task(self._kill_when_swollen())
        try:
            async with asyncio.timeout(self._limits.timeout):
                return await self._exchange(data, request)
        except TimeoutError:
            raise self._too_slow(request.name) from None
        except (ConnectionError, EOFError):
            raise await self._ended(request.name) from None
        finally:
            watch.cancel()

    async def _exchange(self, data: bytes, request: wire.Request) -> bytes:
        assert self._process.stdin is not None
        self._process.stdin.writelines([wire.frame(wire.encode(request)), wire.prefix(data), data])
        await self._process.stdin.drain()
        return await self._frame()

    async def _frame(self) -> bytes:
        """Raises EOFError when there is no whole one, or it is larger than what the process may take."""
        assert self._process.stdout is not None
        length = int.from_bytes(await self._process.stdout.readexactly(wire.PREFIX), "big")
        if length > self._most_memory:
            self._give_up_on_memory()
            raise EOFError
        return await self._process.stdout.readexactly(length)

    async def _ready(self) -> None:
        import psutil

        await self._frame()
        with contextlib.suppress(psutil.NoSuchProcess):
            self._watched = psutil.Process(self._process.pid)
        self._at_start = self._used()

    async def _kill_when_swollen(self) -> None:
        while self._used() <= self._most_memory:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(GLANCE)
        self._give_up_on_memory()

    def _give_up_on_memory(self) -> None:
        self._swollen = True
        self._kill()

    def _kill(self) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _used(self) -> int:
        """Bytes of memory it has taken since its start; 0 once it is gone."""
        import psutil

        try:
            return self._watched.memory_info().rss - self._at_start if self._watched else 0
        except psutil.Error:
            return 0

    async def _ended(self, name: str) -> DocumentError:
        """What the end of the process says of the document."""
        ending = await self._ending()
        if self._swollen:
            limit = f"{self._limits.max_memory:,} MiB of memory"
            return DocumentTooCostly(
                f"{name} needs more than {limit} to be read", hint="raise parsing.max_memory, or exclude it"
            )
        if self._process.returncode == -signal.SIGALRM:
            return self._too_slow(name)
        return BrokenDocument(f"{name} cannot be read: its parser {ending}", hint="exclude it, or save it anew")

    async def _ending(self) -> str:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), GRACE)
        await self.end()
        code = self._process.returncode or 0
        names = {number.value: number.name for number in signal.Signals}
        return f"ended with status {code}" if code >= 0 else f"was ended by {names.get(-code, -code)}"

    def _too_slow(self, name: str) -> DocumentTooCostly:
        limit = f"{self._limits.timeout:g} seconds"
        return DocumentTooCostly(
            f"{name} takes more than {limit} to be read", hint="raise parsing.timeout, or exclude it"
        )


async def _spawn(parser: str, limits: ParsingSettings) -> asyncio.subprocess.Process:
    """Raises DocumentUnavailable."""
    backstop = 2 * limits.max_memory * MEBIBYTE  # for what swells too fast to be seen in time
    command = (sys.executable, "-P", "-m", "ragstone.parsing.worker_process")
    try:
        return await asyncio.create_subprocess_exec(
            *(*command, parser, str(limits.timeout), str(backstop)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=_environment(),
            process_group=0,  # Ctrl-C is the parent's to answer
        )
    except OSError as error:
        raise DocumentUnavailable(f"nothing can be parsed: no process can be started ({error.strerror})") from error


def _environment() -> dict[str, str]:
    """No keys and passwords. Threads that a library starts on its own would only take memory."""
    passed_on = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("PYTHON")}
    return passed_on | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
