"""A position that only its owner moves and others can wait for."""

from __future__ import annotations

import asyncio


class Progress:
    """The change-log position of an index, within one event loop."""

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self._moved = asyncio.Condition()

    async def move(self, position: int) -> None:
        async with self._moved:
            self.position = position
            self._moved.notify_all()

    async def wait(self, position: int, timeout: float) -> bool:
        """Until the position is reached; False when it is not within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(lambda: self.position >= position)
        except TimeoutError:
            return False
        return True
