"""What the service tells Prometheus: how recall stands, and how far the index is behind."""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ragstone.app import Ragstone
from ragstone.errors import RagstoneError
from ragstone.index.sampled import Recall, Sampled


class Metrics:
    """Of one service, in a registry of its own."""

    def __init__(self, ragstone: Ragstone) -> None:
        self._ragstone = ragstone
        self.registry = CollectorRegistry()
        self._lag = Gauge("ragstone_index_lag", "Changes that the index has not applied yet", registry=self.registry)
        if isinstance(ragstone.index, Sampled):
            self.registry.register(_Recall(ragstone.index.recall))

    async def text(self) -> bytes:
        """In Prometheus's text format. The lag is NaN while catalog or index cannot be reached."""
        try:
            self._lag.set(await self._ragstone.lag())
        except RagstoneError:
            self._lag.set(math.nan)
        return generate_latest(self.registry)


class _Recall(Collector):
    """There is no recall before the first check, rather than one of 0."""

    def __init__(self, recall: Recall) -> None:
        self._recall = recall

    def collect(self) -> Iterator[Metric]:
        if self._recall.mean is not None:
            yield GaugeMetricFamily("ragstone_recall", "Mean recall@10 of the checked searches", self._recall.mean)
        yield CounterMetricFamily("ragstone_recall_checks", "Searches compared with exact search", self._recall.checks)
