"""How broadly an engine must search its graph to find what is near: recall, latency and throughput by `ef`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import fmean
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ragstone.errors import SettingsError
from ragstone.index.base import Index
from ragstone.index.filters import Filter, Range
from ragstone.index.recall import Truth, nearest
from ragstone.models import Hit, Scope, Vectors

SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
"""Selectivities: the share of the documents that a filter lets through. 1 is no filter."""

WINDOWS = 5
"""Filters of one selectivity, each letting other documents through, that the queries take in turn."""

BROADEST = 1000  # pgvector takes no more
CLIENTS = 4  # searches at once, for the throughput
BEYOND = 2  # breadths that are measured past the one chosen: the curve shows what more would cost

Clock: TypeAlias = Callable[[], float]
"""Seconds, from any moment on."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told a step by its name, how much of it is done, and of how much."""


def breadths(k: int) -> tuple[int, ...]:
    """Values of `ef`, each a third or a half more than the one before. Less than k would find less than k."""
    start = max(8, -(-k // 8) * 8)
    steps = (start * 2**power * half // 2 for power in range(8) for half in (2, 3))
    return tuple(ef for ef in steps if ef <= max(BROADEST, start))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is wanted and tried. Recall@k counts the k nearest of each query."""

    recall: float
    k: int
    efs: Sequence[int]  # ascending
    shares: Sequence[float] = SHARES


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One breadth at one selectivity. Latencies are of one search at a time, throughput of CLIENTS at once."""

    ef: int
    recall: float  # mean over the queries
    at_least: float  # the recall is no less with 95 % confidence
    p50_ms: float
    p99_ms: float
    qps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What was measured at one selectivity, by ascending `ef`."""

    share: float
    figures: Sequence[Figures]

    def reaches(self, recall: float) -> set[int]:
        """Breadths that find so much for certain."""
        return {each.ef for each in self.figures if each.at_least >= recall}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """`ef` is the least that surely reaches the plan's recall at every selectivity.

    It is None when none does, and where even the least breadth of all found everything: a search of so few points is as
    good as a scan, and tells nothing of what a graph over more of them needs.
    """

    plan: Plan
    queries: int
    curves: Sequence[Curve]
    left_out: Mapping[float, int]  # selectivities whose filters let fewer than k points through: the most they did
    ef: int | None

    @property
    def recall(self) -> float | None:
        """The lowest of the chosen breadth's recalls."""
        chosen = [each.recall for curve in self.curves for each in curve.figures if each.ef == self.ef]
        return min(chosen, default=None)

    @property
    def exhaustive(self) -> bool:
        """Even the least breadth found everything."""
        return _exhaustive(self.curves)


async def tune(
    index: Index,
    scope: Scope,
    vectors: Vectors,
    plan: Plan,
    *,
    progress: Progress = lambda step, done, total: None,
    clock: Clock = time.perf_counter,
) -> Tuning:
    """Measure breadths in turn until enough reach the plan's recall, or all that can be found is found.

    Raises SettingsError when the scope holds fewer than k points, and IndexFailure.
    """
    slices, left_out = await _slices(index, scope, vectors, plan, progress)
    if not slices:
        raise SettingsError(
            f"there is nothing to tune: the index holds {max(left_out.values())} chunks of this collection, "
            f"{plan.k} are wanted of each search",
            hint="a lower --k, or come back when more is indexed",
        )
    measured: dict[float, list[Figures]] = {each.share: [] for each in slices}
    total = len(plan.efs) * len(slices)
    for number, ef in enumerate(plan.efs):
        for place, each in enumerate(slices):
            progress("search", number * len(slices) + place, total)
            measured[each.share].append(await each.measure(index, scope, ef, plan.k, clock))
        curves = [Curve(share=share, figures=figures) for share, figures in measured.items()]
        if _enough(curves, plan):
            break
    progress("search", total, total)
    chosen = None if _exhaustive(curves) else cheapest(curves, plan.recall)
    return Tuning(plan=plan, queries=len(vectors), curves=curves, left_out=left_out, ef=chosen)


def cheapest(curves: Sequence[Curve], recall: float) -> int | None:
    """The least breadth that surely reaches the recall at every selectivity.

    The lower bound decides, not the mean: a mean over few queries is above the target by luck too often.
    """
    return min(set.intersection(*(curve.reaches(recall) for curve in curves)), default=None)


def surely(recalls: Sequence[float], k: int) -> float:
    """What the recall is at least, with 95 % confidence, by the recalls of a sample of queries.

    The lower end of Wilson's score interval (1927), which keeps its promise near 1 where the normal one does not. Hits
    of one query are found or missed together, so that they count for less than as many independent ones: their number
    is divided by Kish's design effect (1965), as Franco et al. do (2019, doi:10.1093/jssam/smy019); at most to the
    number of queries.
    """
    mean = fmean(recalls)
    hits = float(len(recalls) * k)
    if (spread := mean * (1 - mean)) > 0:
        effect = float(np.var(recalls)) * k / spread
        hits /= min(max(effect, 1.0), k)
    z = 1.6449  # the 95th percentile of the normal distribution: of the two ends only the lower counts
    middle = mean + z**2 / (2 * hits)
    half = z * np.sqrt(spread / hits + z**2 / (4 * hits**2))
    return max(0.0, float((middle - half) / (1 + z**2 / hits)))


def _exhaustive(curves: Sequence[Curve]) -> bool:
    return all(curve.figures[0].recall == 1 for curve in curves)


def _enough(curves: Sequence[Curve], plan: Plan) -> bool:
    if all(curve.figures[-1].recall == 1 for curve in curves):
        return True
    chosen = cheapest(curves, plan.recall)
    return chosen is not None and sum(each.ef > chosen for each in curves[0].figures) >= BEYOND


# --- one selectivity ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    vector: npt.NDArray[np.float32]
    where: Filter | None
    truth: Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """Queries under filters of one selectivity."""

    share: float
    queries: Sequence[_Query]

    async def measure(self, index: Index, scope: Scope, ef: int, k: int, clock: Clock) -> Figures:
        async def ask(query: _Query) -> list[Hit]:
            return await index.search(scope, vector=query.vector, text=None, limit=k, where=query.where, ef=ef)

        elapsed = await self._at_once(ask, clock)  # first, for it warms the caches as well
        recalls, seconds = [], []
        for query in self.queries:
            start = clock()
            hits = await ask(query)
            seconds.append(clock() - start)
            recalls.append(query.truth.recall(hits))
        p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
        return Figures(
            ef=ef,
            recall=fmean(recalls),
            at_least=surely(recalls, k),
            p50_ms=float(p50),
            p99_ms=float(p99),
            qps=len(self.queries) / elapsed,
        )

    async def _at_once(self, ask: Callable[[_Query], Awaitable[object]], clock: Clock) -> float:
        """Seconds that CLIENTS together take for all queries."""
        waiting = iter(self.queries)

        async def client() -> None:
            for query in waiting:
                await ask(query)

        start = clock()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return clock() - start


async def _slices(
    index: Index, scope: Scope, vectors: Vectors, plan: Plan, progress: Progress
) -> tuple[list[_Slice], dict[float, int]]:
    """The selectivities whose filters let enough through, with what each query should find; and the others."""
    slices: list[_Slice] = []
    left_out: dict[float, int] = {}
    total = len(plan.shares) * len(vectors)
    for number, share in enumerate(plan.shares):
        windows = {where: await index.count(scope, where) for where in _windows(share)}
        wide = [where for where, points in windows.items() if points >= plan.k]
        if not wide:
            left_out[share] = max(windows.values())
            continue
        queries = []
        for row, (vector, where) in enumerate(zip(vectors, cycle(wide), strict=False)):
            progress("truth", number * len(vectors) + row, total)
            truth = await nearest(index, scope, vector, plan.k, where)
            queries.append(_Query(vector=vector, where=where, truth=truth))
        slices.append(_Slice(share=share, queries=queries))
    progress("truth", total, total)
    return slices, left_out


def _windows(share: float) -> list[Filter | None]:
    """Filters on `sample`, which is even in [0, 1) over the documents."""
    if share >= 1:
        return [None]
    starts = [(1 - share) * number / (WINDOWS - 1) for number in range(WINDOWS)]
    return [Range("sample", gte=start, lt=start + share) for start in starts]
