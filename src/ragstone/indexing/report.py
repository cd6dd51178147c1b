"""What an indexing run did, while it runs and at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from ragstone.models import Skip


@dataclass(slots=True, kw_only=True)
class Report:
    """Counts of documents and chunks, and the seconds that each kind of work took (they overlap in time)."""

    listed: int = 0
    published: int = 0  # new or changed documents
    touched: int = 0  # a new revision with the same content
    unchanged: int = 0
    deleted: int = 0
    skipped: list[Skip] = field(default_factory=list)
    chunks: int = 0
    embedded: int = 0  # chunks whose text had no vector yet
    position: int = 0  # in the change log: an index that has reached it holds all of this run
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Documents dealt with so far, out of `listed`."""
        return self.published + self.touched + self.unchanged + len(self.skipped)

    @property
    def reused(self) -> int:
        return self.chunks - self.embedded

    def spent(self, work: str, seconds: float) -> None:
        self.seconds[work] = self.seconds.get(work, 0.0) + seconds


Progress: TypeAlias = Callable[[Report], None]
"""Called after each step with the report so far."""
