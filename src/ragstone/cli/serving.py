"""The web server of `serve`: it starts and fails as every command does."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import typer
import uvicorn

from ragstone.api.service import create_service
from ragstone.errors import SettingsError
from ragstone.settings import Settings


def listen(host: str, port: int) -> socket.socket:
    """A socket at this address. Raises SettingsError when it cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise SettingsError(
            f"cannot serve on {host}, port {port}: {os.strerror(error.errno or 0)}",
            hint="choose another port with --port; 0 takes a free one",
        ) from None


@contextmanager
def beside(context: typer.Context, settings: Settings) -> Iterator[None]:
    """A worker in a process of its own follows the sources meanwhile; its standard input ends when this one does."""
    if not settings.indexing.worker or not settings.sources:
        yield
        return
    config, collection = context.obj
    options = [*(["--config", str(config)] if config else []), *(["--collection", collection] if collection else [])]
    command = [sys.executable, "-m", "ragstone", *options, "worker", "--with-parent"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
    try:
        yield
    finally:
        worker.terminate()
        worker.wait()


async def serve_on(listener: socket.socket, settings: Settings) -> None:
    """Serve until a signal ends it. Raises what keeps the service from starting."""
    await _Server(settings).serve([listener])


class _Server(uvicorn.Server):
    """Starts and ends the service itself: left to uvicorn, a failing start is a traceback and an exit code of its own.

    Both happen between uvicorn's taking and giving back of the signals, so that SIGTERM lets everything go.
    """

    def __init__(self, settings: Settings) -> None:
        self._service = create_service(settings)
        self._held = AsyncExitStack()
        super().__init__(uvicorn.Config(self._service, lifespan="off"))
        self._log = logging.getLogger("uvicorn.error")
        self._log.setLevel(logging.WARNING)  # until it has started there is nothing to say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._held.enter_async_context(self._service.router.lifespan_context(self._service))
        await super().startup(sockets)
        self._log.setLevel(logging.INFO)
        for listener in sockets or ():
            host, port, *_ = listener.getsockname()
            typer.echo(f"serving on http://{f'[{host}]' if ':' in host else host}:{port}", err=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._held.aclose()
