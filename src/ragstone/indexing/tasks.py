"""Ending a task for certain."""

from __future__ import annotations

import asyncio


async def end(task: asyncio.Task[None]) -> None:
    """Cancel until it has ended: `wait_for` of Python 3.11, which the connection pool uses, may swallow it once."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
