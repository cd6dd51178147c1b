"""Starting the index process: what it is told, and the call that brings it up."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass

from ragstone import __version__
from ragstone.index.edge.endpoint import LOG_LIMIT, Endpoint
from ragstone.index.edge.faults import OPENING, refuse_without_room


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All that the process is told, through its standard input: a database URL may hold a password."""

    data_dir: str
    database_url: str | None  # None: the embedded PostgreSQL of the data folder
    follow: bool  # whether the process follows the catalog by itself
    linger: float  # seconds
    build_after: int  # points

    @property
    def signature(self) -> str:
        """Processes of one signature can stand in for each other."""
        parts = (__version__, self.database_url, self.follow)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> Launch:
        return cls(**json.loads(data))


def launch(settings: Launch, endpoint: Endpoint) -> int:
    """Start the process without waiting for it; returns its number, which the caller must wait for in the end.

    Raises OSError, or IndexReadOnly when the disk is as good as full.
    """
    endpoint.make_folder()
    refuse_without_room(endpoint.folder, OPENING)
    _trim(endpoint)
    read, write = os.pipe()
    try:
        number = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "ragstone.index.edge"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, read, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.fspath(endpoint.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        # Fits into the pipe's buffer: nobody has to read it yet.
        os.write(write, settings.to_json())
    finally:
        os.close(read)
        os.close(write)
    return number


def _trim(endpoint: Endpoint) -> None:
    if endpoint.log.exists() and endpoint.log.stat().st_size > LOG_LIMIT:
        endpoint.log.unlink()
