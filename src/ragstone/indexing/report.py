"""What an indexing run did, while it runs and at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from ragstone.catalog.queue import Job
from ragstone.errors import RagstoneError
from ragstone.indexing.pipeline import Outcome
from ragstone.models import Skip


@dataclass(slots=True, kw_only=True)
class Report:
    """Counts of documents and chunks, and the seconds that each kind of work took (they overlap in time)."""

    listed: int = 0
    published: int = 0  # new or changed documents
    touched: int = 0  # a new revision with the same content
    unchanged: int = 0
    deleted: int = 0
    elsewhere: int = 0  # documents that another worker took
    skipped: list[Skip] = field(default_factory=list)
    chunks: int = 0
    embedded: int = 0  # chunks whose text had no vector yet
    tokens: int = 0  # that an endpoint was sent by this process, as it bills them
    money: float = 0.0  # for them, by the model's price
    position: int = 0  # in the change log: an index that has reached it holds all of this run
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Documents dealt with so far, out of `listed`."""
        return self.published + self.touched + self.unchanged + self.elsewhere + len(self.skipped)

    @property
    def reused(self) -> int:
        return self.chunks - self.embedded

    def spent(self, work: str, seconds: float) -> None:
        self.seconds[work] = self.seconds.get(work, 0.0) + seconds

    def add(self, outcome: Outcome) -> None:
        """Count a document that is done."""
        setattr(self, outcome.fate, getattr(self, outcome.fate) + 1)
        self.chunks += outcome.chunks
        self.embedded += outcome.embedded
        self.position = max(self.position, outcome.position)
        for work, seconds in outcome.seconds.items():
            self.spent(work, seconds)


Progress: TypeAlias = Callable[[Report], None]
"""Called after each step with the report so far."""


class Tally:
    """Counts the jobs of one pass into its report, as this process's worker gets them done."""

    def __init__(self, report: Report, progress: Progress, enqueued: Iterable[str]) -> None:
        self._report = report
        self._progress = progress
        self._open = set(enqueued)
        self._failed: dict[str, Skip] = {}

    def __call__(self, job: Job, result: Outcome | RagstoneError) -> None:
        if job.uri not in self._open:
            return  # left over from an earlier pass, or another source's
        if isinstance(result, RagstoneError):
            self._failed[job.uri] = Skip(uri=job.uri, code=result.code, reason=str(result), hint=result.hint)
        else:
            self._open.discard(job.uri)
            self._failed.pop(job.uri, None)
            self._report.add(result)
            self._report.listed -= result.fate == "deleted"  # it is gone since it was listed
        self._report.skipped = list(self._failed.values())
        self._progress(self._report)

    def close(self, position: int) -> None:
        """At the end, when `skipped` holds all that was: whatever else was enqueued, another worker has done."""
        self._report.elsewhere = max(0, self._report.listed - self._report.done)
        self._report.position = max(self._report.position, position)
        self._progress(self._report)
