"""What a worker tells of itself to Prometheus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from ragstone.catalog.catalog import Catalog
from ragstone.catalog.queue import Job
from ragstone.embedding.base import Usage
from ragstone.errors import RagstoneError
from ragstone.index.audit import KINDS
from ragstone.indexing.pipeline import Outcome
from ragstone.models import Collection

EVERY = 5.0
"""Seconds between two looks at the queue and the generations."""

logger = logging.getLogger(__name__)


class Metrics:
    """Counters of this process's work, and gauges of the collection as a whole."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._documents = Counter("ragstone_documents", "Documents dealt with", ["fate"], registry=registry)
        self._failures = Counter("ragstone_failures", "Failed jobs, tried again or not", ["code"], registry=registry)
        self._chunks = Counter("ragstone_chunks", "Chunks published", registry=registry)
        self._embedded = Counter("ragstone_embedded", "Chunks whose text had to be embedded", registry=registry)
        self._tokens = Counter("ragstone_embedding_tokens", "Tokens that an endpoint bills", registry=registry)
        self._requests = Counter("ragstone_embedding_requests", "Requests that an endpoint answered", registry=registry)
        self._money = Counter("ragstone_embedding_money", "Cost of the tokens by the model's price", registry=registry)
        self._used = Usage()  # that the three above hold
        self._seconds = Counter("ragstone_work_seconds", "Seconds of work, by kind", ["work"], registry=registry)
        self._jobs = Gauge("ragstone_jobs", "Jobs in the queue", ["state"], registry=registry)
        self._workers = Gauge("ragstone_workers", "Workers alive", registry=registry)
        self._dead_letters = Gauge("ragstone_dead_letters", "Documents that are not indexed", registry=registry)
        self._quarantined = Gauge("ragstone_quarantined", "Generations whose model deviates", registry=registry)
        self._lag = Gauge("ragstone_index_lag", "Changes that the index has not applied yet", registry=registry)
        self._divergence = Gauge(
            "ragstone_index_divergence", "Points of the index that an audit found wrong", ["kind"], registry=registry
        )
        self._audited = Gauge(
            "ragstone_index_audited_timestamp_seconds", "When the index was audited last", registry=registry
        )

    def __call__(self, job: Job, result: Outcome | RagstoneError) -> None:
        """Count a job that is done."""
        if isinstance(result, RagstoneError):
            self._failures.labels(result.code).inc()
            return
        self._documents.labels(result.fate).inc()
        self._chunks.inc(result.chunks)
        self._embedded.inc(result.embedded)
        for work, seconds in result.seconds.items():
            self._seconds.labels(work).inc(seconds)

    async def keep_measuring(
        self,
        catalog: Catalog,
        collection: Collection,
        lag: Callable[[], Awaitable[int]],
        usage: Callable[[], Usage] = Usage,
        index: str = "",
    ) -> None:
        """Look at the queue, the failures, the generations, the index and the models' usage until cancelled.

        `index`: the name that its audits are remembered under.
        """
        while True:
            self._use(usage())
            try:
                await self._measure(catalog, collection)
                await self._recall_audit(catalog, index)
                self._lag.set(await lag())
            except RagstoneError as error:
                logger.debug("nothing was measured: %s", error)
            await asyncio.sleep(EVERY)

    def _use(self, used: Usage) -> None:
        self._tokens.inc(used.tokens - self._used.tokens)
        self._requests.inc(used.requests - self._used.requests)
        self._money.inc(used.money - self._used.money)
        self._used = used

    async def _measure(self, catalog: Catalog, collection: Collection) -> None:
        state = await catalog.queue.state(collection)
        for name, count in (("waiting", state.waiting), ("running", state.running), ("later", state.later)):
            self._jobs.labels(name).set(count)
        self._workers.set(state.workers)
        self._dead_letters.set(await catalog.count_failures(collection))
        generations = await catalog.generations(collection)
        self._quarantined.set(sum(generation.quarantine is not None for generation in generations))

    async def _recall_audit(self, catalog: Catalog, index: str) -> None:
        """Another process may have made it."""
        if (last := await catalog.auditing.last(index)) is not None:
            self._audited.set(last.at.timestamp())
            for kind in KINDS:
                self._divergence.labels(kind).set(last.found.get(kind, 0))
