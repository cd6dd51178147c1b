"""The index process: `python -m ragstone.index.edge`, started by the client, never by hand."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path

from ragstone.index.edge.endpoint import Endpoint, Ownership
from ragstone.index.edge.launch import Launch

PATIENCE = 10.0  # seconds for a process that is leaving to be gone


def main() -> None:
    os.setsid()
    settings = Launch.from_json(sys.stdin.buffer.read())
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s [{os.getpid()}] %(levelname)s %(message)s")
    endpoint = Endpoint(Path(settings.data_dir))
    if (ownership := _own(endpoint)) is None:
        return
    # Imported this late so that the loser of a race has cost next to nothing.
    from ragstone.index.edge.server import serve

    asyncio.run(serve(settings, endpoint.folder, ownership))


def _own(endpoint: Endpoint) -> Ownership | None:
    """None when another process serves the folder already."""
    deadline = time.monotonic() + PATIENCE
    while (ownership := endpoint.own()) is None and not endpoint.answers() and time.monotonic() < deadline:
        time.sleep(0.02)
    return ownership


if __name__ == "__main__":
    main()
