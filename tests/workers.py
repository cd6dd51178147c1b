"""Workers as an operator runs them, to be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]


class WorkerProcess:
    """`ragstone worker` in a folder with a ragstone.toml, in a process group of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said: list[str] = []
        self._more = asyncio.Condition()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, folder: Path, *arguments: str) -> WorkerProcess:
        """`TMPDIR` is the folder's, for it and for its parser processes: `left_behind` knows them by it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ragstone", "worker", *arguments),
            cwd=folder,
            env=os.environ | {"TMPDIR": str(folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return cls(process)

    @classmethod
    @asynccontextmanager
    async def several(cls, count: int, folder: Path, *arguments: str) -> AsyncIterator[list[WorkerProcess]]:
        """Some workers, and whatever the block puts in their places: none outlives it."""
        workers = [await cls.start(folder, *arguments) for _ in range(count)]
        try:
            yield workers
        finally:
            for worker in workers:
                if worker._process.returncode is None:
                    await worker.kill()

    @property
    def said(self) -> str:
        return "\n".join(self._said)

    async def says(self, words: str) -> None:
        """Wait for a line with these words."""
        async with self._more:
            await self._more.wait_for(lambda: words in self.said or self._listening.done())
        assert words in self.said, self.said

    async def kill(self) -> None:
        assert self._process.returncode is None, self.said
        os.killpg(self._process.pid, signal.SIGKILL)
        await self._ended()

    async def stop(self) -> None:
        self._process.terminate()
        await self._ended()
        assert self._process.returncode == 0, self.said

    async def _ended(self) -> None:
        await self._process.wait()
        await self._listening

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            async with self._more:
                self._said.append(line.decode().rstrip())
                self._more.notify_all()
        async with self._more:
            self._more.notify_all()


def left_behind(folder: Path) -> list[str]:
    """The processes that workers of a folder have started and that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
