"""One record of a query: per stage the time, the counts in and out, and why each candidate was dropped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A candidate that a stage removed."""

    chunk_id: UUID
    reason: str


@dataclass(slots=True, kw_only=True)
class Stage:
    """What one stage did. `seconds` is set when the stage ends."""

    name: str
    seconds: float = 0.0
    taken: int | None = None  # how many came in
    given: int | None = None  # how many went on
    drops: list[Drop] = field(default_factory=list)
    note: str = ""

    def drop(self, chunk_id: UUID, reason: str) -> None:
        self.drops.append(Drop(chunk_id=chunk_id, reason=reason))


@dataclass(slots=True)
class Trace:
    """The stages of one query in the order they began. Stages may overlap in time."""

    stages: list[Stage] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Time a stage; what it did is recorded even when it fails."""
        stage = Stage(name=name)
        self.stages.append(stage)
        start = time.perf_counter()
        try:
            yield stage
        finally:
            stage.seconds = time.perf_counter() - start

    def server_timing(self) -> str:
        """The value of a Server-Timing header (W3C): milliseconds per stage."""
        return ", ".join(f"{s.name};dur={s.seconds * 1e3:.2f}" for s in self.stages)
