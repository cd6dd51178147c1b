"""A process that packs a copy of the index: `python -m ragstone.index.edge.archive FOLDER STAGING TARGET`.

The manifest is in the staging folder already, and comes first in the file: it names the shard folders. It prints a line
once the copy is taken; the index may be written again from then on. Exit status 0 means that the target is whole and on
disk.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path

from ragstone.index.edge import child
from ragstone.index.edge.copying import copy_folder

MANIFEST = "manifest.json"
LEVEL = 1  # of compression: vectors have little to give, the holes in the engine's files everything


def main() -> None:
    folder, staging, target = (Path(argument) for argument in sys.argv[1:])
    manifest = json.loads((staging / MANIFEST).read_bytes())
    shards = [space["folder"] for space in manifest["state"]["spaces"].values()]
    for name in shards:
        copy_folder(folder / name, staging / name)
    child.tell_copied()
    with os.fdopen(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=LEVEL) as tar:
            for name in (MANIFEST, *shards):
                tar.add(staging / name, name)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    child.run(main)
