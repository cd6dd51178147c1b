"""A snapshot: one compressed tar file of the whole index at one position, and the way back.

    async with snapshot: `await EdgeIndex.snapshot(target)`; without an index process: `await restore(data_dir, file)`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a snapshot file holds."""

    source: str  # the identity of the catalog that it was made from
    position: int  # of that catalog's change log
    points: int
    size: int  # bytes of the file


async def restore(data_dir: Path, file: Path, *, source: str = "") -> Snapshot:
    """Put a snapshot in the place of the index of a data folder; the next process follows the catalog from there.

    `source` is the identity of the catalog that the index is for: a snapshot of another is refused. Without it such a
    snapshot is taken, and rebuilt as soon as the process meets its own catalog. A process that serves the folder to
    nobody is told to leave. Raises IndexUnavailable when one serves it to somebody, IndexFailure when the file is
    broken, foreign or of another layout, and IndexReadOnly when there is no room; the index is untouched then.
    """
    raise NotImplementedError
