"""Where the index process of a data folder is found, and how there comes to be one at most.

index/lock       held by the process for as long as it lives
index/address    the path of its socket, once it listens
index/edge.sock  the socket; in a private folder elsewhere when this path is too long for one
index/edge.log   what the process has to say
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
from pathlib import Path

from ragstone.errors import IndexUnavailable

LONGEST_SOCKET = 100  # bytes; the kernels' limits are 104 (macOS) and 108 (Linux)
LOG_LIMIT = 2**20  # bytes; a longer log is begun anew by the next process


class Endpoint:
    """The names in one index folder."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir.absolute() / "index"
        self.log = self.folder / "edge.log"
        self._lock = self.folder / "lock"
        self._address = self.folder / "address"

    def make_folder(self) -> None:
        """It may have been deleted at any time. Readable by its owner alone."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def address(self) -> Path | None:
        """The socket of the process that serves this folder, as far as is known."""
        try:
            path = Path(os.fsdecode(self._address.read_bytes()))
            if path.parent != self.folder and path.parent.stat().st_uid != self.folder.stat().st_uid:
                raise IndexUnavailable(f"{path.parent} belongs to someone else", hint=f"remove {self._address}")
        except FileNotFoundError:
            return None
        return path

    def answers(self) -> bool:
        """Whether a process accepts connections."""
        if (path := self.address()) is None:
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(os.fspath(path))
            except OSError:
                return False
        return True

    def own(self) -> Ownership | None:
        """Become the one process that serves this folder; None while another is."""
        self.make_folder()
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return Ownership(descriptor, self.folder, self._lock, self._address)


class Ownership:
    """Held by the process that serves the folder; the kernel ends it with the process."""

    def __init__(self, descriptor: int, folder: Path, lock: Path, address: Path) -> None:
        self._descriptor = descriptor
        self._folder = folder
        self._lock = lock
        self._address = address
        self._elsewhere: Path | None = None

    def valid(self) -> bool:
        """False once the folder was deleted (and perhaps made anew, for another process)."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._lock.stat())
        except FileNotFoundError:
            return False

    def listen(self) -> socket.socket:
        """A listening socket that only this user can reach, in place of a dead process's."""
        path = self._folder / "edge.sock"
        if len(os.fsencode(path)) > LONGEST_SOCKET:
            self._elsewhere = Path(tempfile.mkdtemp(prefix="ragstone-", dir=_short_folder()))
            path = self._elsewhere / "edge.sock"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        listener.listen(128)
        draft = self._address.with_suffix(".new")
        draft.write_bytes(os.fsencode(path))
        draft.replace(self._address)
        return listener

    def release(self) -> None:
        """Give the folder up before the process ends: for one that never listened."""
        os.close(self._descriptor)

    def leave(self) -> None:
        """Take back the address, so that nobody new comes. The lock is kept until the process ends."""
        if self.valid():
            with contextlib.suppress(FileNotFoundError):
                self._address.unlink()
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)


def _short_folder() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return runtime if len(runtime) <= 60 and os.access(runtime, os.W_OK) else "/tmp"  # noqa: S108 (mkdtemp: private)
