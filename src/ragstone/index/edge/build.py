"""A process that copies a shard and builds its graphs: `python -m ragstone.index.edge.build FROM TO [NUMBER …]`.

It prints a line once the copy is taken; the original may be written again from then on. The numbers are the payload
keys that need an index. Exit status 0 means that the copy is complete and on disk.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ragstone.index.edge import child
from ragstone.index.edge.copying import copy_folder, persist


def main() -> None:
    source, target, numbers = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    copy_folder(source, target)
    child.tell_copied()
    from ragstone.index.edge.shard import Shard

    shard = Shard.load(target)
    shard.index_numbers(numbers)
    shard.optimize()
    shard.flush()
    shard.close()
    persist(target)


if __name__ == "__main__":
    child.run(main)
