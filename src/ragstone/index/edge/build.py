"""A process that copies a shard and builds its graphs: `python -m ragstone.index.edge.build FROM TO`.

It prints a line once the copy is taken; the original may be written again from then on. Exit status 0 means that the
copy is complete and on disk.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    os.nice(5)  # with that, the engine's own threads still run below it
    _end_with_parent()
    shutil.copytree(source, target)
    sys.stdout.write("copied\n")
    sys.stdout.flush()
    from ragstone.index.edge.shard import Shard

    shard = Shard.load(target)
    shard.optimize()
    shard.flush()
    shard.close()
    _persist(target)


def _end_with_parent() -> None:
    """On Linux; elsewhere an orphan finishes, and its folder is deleted by the next start."""
    if sys.platform == "linux":
        import ctypes
        import signal

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL, 0, 0, 0)


def _persist(folder: Path) -> None:
    """Copied files are in the page cache only; a shard that is pointed to must survive a power cut."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    main()
