"""Work that another process does on a copy: what is common to the two sides of its pipe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ragstone.errors import IndexFailure
from ragstone.index.edge.faults import from_os

COPIED = b"copied\n"

# --- in the parent ----------------------------------------------------------------------------------------------


class Child:
    """A running process of a module; `copied` and `finished` raise IndexFailure when it fails."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def copied(self) -> None:
        """Until it has its copy: the original may be written again from then on."""
        if (line := await self._line()) != COPIED:
            await self._failed(line)

    async def finished(self) -> None:
        line = await self._line()
        if line or await self._process.wait():
            await self._failed(line)

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        return await self._process.stdout.readline()

    async def _failed(self, line: bytes) -> None:
        """The line is empty unless the operating system refused something: then it tells what."""
        number, _, message = line.decode("utf-8", "replace").strip().partition(" ")
        if number.isdigit():
            raise from_os(int(number), message)
        status = await self._process.wait()
        raise IndexFailure(f"the process ended with status {status}", hint="its log, index/edge.log, tells why")

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def child(module: str, *arguments: str | Path) -> AsyncIterator[Child]:
    """A process that is gone at the end of the context, finished or not."""
    started = Child(
        await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", module, *arguments, stdout=asyncio.subprocess.PIPE
        )
    )
    try:
        yield started
    finally:
        await started.end()


# --- in the child -----------------------------------------------------------------------------------------------


def run(work: Callable[[], None]) -> None:
    """The child's life: it stands back behind searches, and tells its parent what the operating system refused."""
    os.nice(5)  # with that, the engine's own threads still run below it
    _end_with_parent()
    try:
        work()
    except OSError as error:
        _tell(f"{error.errno or 0} {error}".encode("utf-8", "replace"))
        raise


def tell_copied() -> None:
    _tell(COPIED.strip())


def _tell(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    """On Linux; elsewhere an orphan finishes, and what it made is deleted by the next start."""
    if sys.platform == "linux":
        import ctypes
        import signal

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL, 0, 0, 0)
