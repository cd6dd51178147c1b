"""What the system itself tells of changes in folders (inotify, FSEvents), and where it cannot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CALL = 1000
"""Milliseconds of one call into the watching library: so long may the end of a process wait that closes nothing."""

LONGEST = 20
"""A burst that does not end is cut after this many pauses."""

REMOTE = frozenset({"9p", "afs", "ceph", "cifs", "davfs", "lustre", "nfs", "nfs4", "smb3", "smbfs", "virtiofs"})
"""File systems on which others write unseen; whatever is mounted by FUSE counts as one, too."""


class CannotWatch(Exception):
    """The system has no watches left, or cannot watch such a folder."""


class Notices:
    """Watches just these folders, not those in them: no link is followed and no watch is spent in vain.

    Raises FileNotFoundError when one of them is gone, and CannotWatch. Takes time in proportion to their number.
    """

    def __init__(self, folders: Collection[Path]) -> None:
        from watchfiles._rust_notify import RustNotify

        try:
            self._native = RustNotify([str(folder) for folder in folders], False, False, 0, False, False)
        except FileNotFoundError:
            raise
        except (OSError, RuntimeError, UnicodeEncodeError) as error:
            raise CannotWatch(str(error)) from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="watch")  # it waits in there nearly all the time
        self._stop = threading.Event()

    async def paths(self, pause: float) -> frozenset[Path]:
        """What changed, gathered until nothing did for `pause` seconds; empty when that cannot be told."""
        waiting = asyncio.get_running_loop().run_in_executor(self._thread, self._gather, int(pause * 1000))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self._stop.set()
            await waiting
            raise

    def close(self) -> None:
        self._thread.shutdown()
        self._native.close()

    def _gather(self, pause: int) -> frozenset[Path]:
        while not self._stop.is_set():
            try:
                told = self._native.watch(LONGEST * pause, pause, CALL, self._stop)
            except RuntimeError:  # a name that is not UTF-8
                return frozenset()
            if isinstance(told, set):
                return frozenset(Path(path) for _, path in told)
        return frozenset()


def is_remote(path: Path) -> bool:
    """Whether the path lies on a file system that others may write to unseen."""
    import psutil  # type: ignore[import-untyped]

    mounts = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    kind = next((mounts[str(above)] for above in (path, *path.parents) if str(above) in mounts), "")
    return kind in REMOTE or kind.startswith("fuse.")
