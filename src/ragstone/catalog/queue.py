"""The queue of documents to index: one waiting job a document, kept by PostgreSQL, in procrastinate's tables.

A job says only that a document should be looked at: what it is like is seen when the job runs. So a job may come twice,
or late, and one that was lost with its worker is simply run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ragstone.catalog.connections import Connections
from ragstone.models import Collection

SCHEMA = "ragstone_queue"
TASK = "index"
LEASE = 10.0
"""Seconds after a worker's last sign of life at which its jobs are given to others."""

Lane = Literal["live", "backfill"]
_PRIORITY: dict[str, int] = {"live": 10, "backfill": 0}
_BATCH = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A document to look at. `attempt` counts from 1; `error` is what the last one failed with."""

    source: str
    uri: str
    lane: Lane = "live"
    attempt: int = 1
    error: str = ""
    delay: float = 0.0  # seconds until it is due


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedJob:
    """A job as it stands in the queue."""

    source: str
    uri: str
    lane: Lane
    attempt: int
    error: str
    running: bool
    due: datetime | None  # None: now


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """How many jobs there are, by what they wait for, and the workers that are alive."""

    waiting: int
    running: int
    later: int  # to be tried again
    workers: int


class Queue:
    """The jobs of all collections. Raises CatalogUnavailable and CatalogError as the catalog does."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, collection: Collection, jobs: Sequence[Job]) -> None:
        """Enqueue jobs; where a document has one that waits, the two become one."""
        single = list({job.uri: job for job in jobs}.values())
        for start in range(0, len(single), _BATCH):
            await self._connections.run_as_owner("enqueue", _columns(collection, single[start : start + _BATCH]))

    async def busy(self, collection: Collection) -> bool:
        """Whether a job is running or due."""
        ((busy,),) = await self._connections.run_as_owner("busy", {"queue": str(collection.id)})
        return bool(busy)

    async def state(self, collection: Collection) -> QueueState:
        ((waiting, running, later),) = await self._connections.run_as_owner("count_jobs", {"queue": str(collection.id)})
        ((workers,),) = await self._connections.run_as_owner("count_workers", {"lease": LEASE})
        return QueueState(waiting=waiting, running=running, later=later, workers=workers)

    async def jobs(self, collection: Collection, limit: int = 1000) -> list[QueuedJob]:
        """The first jobs, running ones before waiting ones, in the order in which they will be taken."""
        rows = await self._connections.run_as_owner("jobs", {"queue": str(collection.id), "limit": limit})
        return [
            QueuedJob(
                source=args["source"],
                uri=args["uri"],
                lane=args["lane"],
                attempt=args["attempt"],
                error=args["error"],
                running=status == "doing",
                due=due,
            )
            for args, status, due, _ in rows
        ]

    async def drop(self, collection: Collection, uris: Sequence[str] | None = None) -> int:
        """Remove waiting jobs, of these documents or all; gives their number. Running ones end by themselves."""
        locks = None if uris is None else [f"{collection.id} {uri}" for uri in uris]
        return len(await self._connections.run_as_owner("drop_jobs", {"queue": str(collection.id), "locks": locks}))

    async def withdraw(self, collection: Collection, source: str) -> bool:
        """Remove the waiting jobs of a source. False when it had none at all: nothing runs that could bring one."""
        parameters = {"queue": str(collection.id), "source": source}
        ((found,),) = await self._connections.run_as_owner("withdraw_jobs", parameters)
        return bool(found)

    async def finish(self, id: int) -> None:  # noqa: A002
        """Remove a running job; nothing happens when it was taken back meanwhile."""
        await self._connections.run_as_owner("finish_job", {"id": id})

    async def give_back(self, id: int) -> None:  # noqa: A002
        """Let a running job wait again as it was, unless the document has a newer one."""
        await self._connections.run_as_owner("give_back", {"id": id})

    async def take_back(self, collection: Collection) -> int:
        """Let the jobs of workers that have died wait again; gives their number."""
        return len(await self._connections.run_as_owner("take_back", {"queue": str(collection.id), "lease": LEASE}))


def _columns(collection: Collection, jobs: Sequence[Job]) -> dict[str, object]:
    return {
        "queue": str(collection.id),
        "uris": [job.uri for job in jobs],
        "sources": [job.source for job in jobs],
        "lanes": [job.lane for job in jobs],
        "priorities": [_PRIORITY[job.lane] for job in jobs],
        "attempts": [job.attempt for job in jobs],
        "errors": [job.error for job in jobs],
        "delays": [job.delay for job in jobs],
    }
