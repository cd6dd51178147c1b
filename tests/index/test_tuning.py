"""Breadths are measured as they are, and the least that surely finds enough under every filter is chosen."""

from __future__ import annotations

import asyncio
import re
import xml.etree.ElementTree as ET
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.forgetful import SCOPE, Forgetful, documents, forgetful, vectors
from ragstone.errors import SettingsError
from ragstone.index.edge.client import EdgeIndex
from ragstone.index.filters import Filter, Range
from ragstone.index.recall import Truth, nearest
from ragstone.index.tuning import BEYOND, CLIENTS, Curve, Figures, Plan, Tuning, breadths, cheapest, surely, tune
from ragstone.index.tuning_report import page
from ragstone.models import Hit

EFS = (16, 24, 32, 48, 64, 96)
QUERIES = vectors(40, seed=2)


def plan(recall: float) -> Plan:
    return Plan(recall=recall, k=10, efs=EFS, shares=(1.0, 0.5, 0.1))


async def test_recall_is_what_the_engine_finds_and_the_least_breadth_that_reaches_the_target_is_chosen() -> None:
    misses = {16: 3, 24: 2, 32: 1, 48: 0}
    index = await forgetful(documents(400), lambda ef, where: misses[ef or 0])
    found = await tune(index, SCOPE, QUERIES, plan(0.85))
    assert [curve.share for curve in found.curves] == [1.0, 0.5, 0.1]
    for curve in found.curves:
        # No more was measured once everything was found.
        assert [(each.ef, each.recall) for each in curve.figures] == [(16, 0.7), (24, 0.8), (32, 0.9), (48, 1.0)]
    assert (found.ef, found.recall, found.queries) == (32, 0.9, 40)


async def test_the_worst_selectivity_decides() -> None:
    def misses(ef: int | None, where: Filter | None) -> int:
        narrow = isinstance(where, Range) and (where.lt or 0) - (where.gte or 0) < 0.2
        return 2 if narrow and (ef or 0) < 64 else 0

    index = await forgetful(documents(400), misses)
    found = await tune(index, SCOPE, QUERIES, plan(0.95))
    worst = found.curves[-1]
    assert [each.recall for each in worst.figures] == [0.8, 0.8, 0.8, 0.8, 1.0]
    assert all(each.recall == 1 for curve in found.curves[:-1] for each in curve.figures)
    assert found.ef == 64


async def test_a_little_more_than_the_chosen_breadth_is_measured() -> None:
    index = await forgetful(documents(400), lambda ef, where: 1)
    found = await tune(index, SCOPE, QUERIES, plan(0.8))
    assert found.ef == 16
    assert [each.ef for each in found.curves[0].figures] == list(EFS[: 1 + BEYOND])


async def test_none_is_chosen_when_none_reaches_the_target() -> None:
    index = await forgetful(documents(400), lambda ef, where: 1)
    found = await tune(index, SCOPE, QUERIES, plan(0.95))
    assert (found.ef, found.recall) == (None, None)
    assert [each.ef for each in found.curves[0].figures] == list(EFS)


async def test_a_mean_above_the_target_by_luck_is_not_enough() -> None:
    index = await forgetful(documents(400), lambda ef, where: 1)
    few, many = [await tune(index, SCOPE, vectors(n, seed=2), plan(0.85)) for n in (3, 40)]
    assert few.curves[0].figures[-1].recall == pytest.approx(0.9)
    assert (few.ef, many.ef) == (None, 16)


async def test_where_even_the_least_breadth_finds_everything_none_is_chosen() -> None:
    index = await forgetful(documents(400), lambda ef, where: 0)
    found = await tune(index, SCOPE, QUERIES, plan(0.9))
    assert found.exhaustive
    assert found.ef is None
    assert [each.ef for each in found.curves[0].figures] == [16]
    assert "is as good as a scan" in page(found, collection="c", engine="edge", model="m")


async def test_filters_of_a_selectivity_let_so_many_through_and_not_always_the_same() -> None:
    index = await forgetful(documents(400), lambda ef, where: 0)
    await tune(index, SCOPE, QUERIES, plan(0.9))
    windows = {where for _, where, _ in index.asked if where is not None}
    for share in (0.5, 0.1):
        alike = [w for w in windows if isinstance(w, Range) and (w.lt or 0) - (w.gte or 0) == pytest.approx(share)]
        assert len(alike) == 5
        assert [await index.count(SCOPE, where) for where in alike] == pytest.approx([400 * share] * 5, abs=1)


async def test_a_selectivity_with_too_few_points_is_left_out_and_told() -> None:
    index = await forgetful(documents(60), lambda ef, where: 0)
    found = await tune(index, SCOPE, QUERIES, plan(0.9))
    assert [curve.share for curve in found.curves] == [1.0, 0.5]
    assert found.left_out == {0.1: 6}


async def test_too_few_points_for_any_search_are_an_error() -> None:
    index = await forgetful(documents(9), lambda ef, where: 0)
    with pytest.raises(SettingsError, match="holds 9 chunks of this collection, 10 are wanted"):
        await tune(index, SCOPE, QUERIES, plan(0.9))


async def test_latency_is_of_one_search_and_throughput_of_all() -> None:
    index = await forgetful(documents(400), lambda ef, where: 0)
    ticks = count()
    found = await tune(index, SCOPE, QUERIES, plan(0.9), clock=lambda: next(ticks) * 0.002)
    each = found.curves[0].figures[0]
    assert (each.p50_ms, each.p99_ms) == pytest.approx((2, 2))
    assert each.qps == pytest.approx(40 / 0.002)


class Busy(Forgetful):
    """Counts the searches that are under way at once."""

    now = most = 0

    async def search(self, *asked: Any, **how: Any) -> list[Hit]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await super().search(*asked, **how)
        finally:
            self.now -= 1


async def test_throughput_is_of_several_clients() -> None:
    index = Busy(lambda ef, where: 0)
    await index.apply(documents(400), 1)
    await tune(index, SCOPE, QUERIES, plan(0.9))
    assert index.most == CLIENTS


async def test_every_step_is_told_to_its_end() -> None:
    index = await forgetful(documents(400), lambda ef, where: 0)
    told: dict[str, list[tuple[int, int]]] = {}
    await tune(
        index, SCOPE, QUERIES, plan(0.9), progress=lambda step, *far: told.setdefault(step, []).append((far[0], far[1]))
    )
    assert list(told) == ["truth", "search"]
    for fars in told.values():
        assert fars == sorted(fars)
        assert fars[-1][0] == fars[-1][1]


async def test_a_real_graph_is_measured_as_it_is(tmp_path: Path) -> None:
    """Against the nearest by numpy. Edge scans fewer points, or smaller vectors, than these."""
    stored, asked = documents(2600, dimensions=1536), vectors(40, seed=2, dimensions=1536)
    index = EdgeIndex.open(tmp_path, None, linger=0, follow=False, build_after=1000)
    try:
        await index.apply(stored, 1)
        async with asyncio.timeout(200):
            while (await index.health()).unbuilt:  # noqa: ASYNC110 (another process builds)
                await asyncio.sleep(0.05)
        found = await tune(index, SCOPE, asked, Plan(recall=0.9, k=10, efs=breadths(10), shares=(1.0, 0.5)))
        hits = [await index.search(SCOPE, vector=row, text=None, limit=10, ef=16) for row in asked]
    finally:
        await index.aclose()
    rows = np.array([document.points[0].vector for document in stored])
    cosines = (asked @ rows.T) / np.linalg.norm(rows, axis=1)
    nearest = [{stored[row].points[0].chunk_id for row in best} for best in np.argsort(-cosines, axis=1)[:, :10]]
    recalls = [len({hit.chunk_id for hit in some} & ids) / 10 for some, ids in zip(hits, nearest, strict=True)]
    first, *_, last = found.curves[0].figures
    assert first.recall == pytest.approx(np.mean(recalls))
    assert 0.8 < first.recall < last.recall <= 1
    assert found.ef is not None
    assert all(each.at_least >= 0.9 for curve in found.curves for each in curve.figures if each.ef == found.ef)


# --- recall ---------------------------------------------------------------------------------------------------------


async def test_of_equal_points_one_is_as_good_as_the_other() -> None:
    some = documents(20)
    [best] = vectors(1, seed=3)
    twins = [np.array(best), np.array(best)]
    for document, vector in zip(some[:2], twins, strict=True):
        document.points[0].vector[:] = vector
    index = await forgetful(some, lambda ef, where: 0)
    truth = await nearest(index, SCOPE, best, 1)
    assert truth.ids == {document.points[0].chunk_id for document in some[:2]}
    for document in some[:2]:
        assert truth.recall([Hit(chunk_id=document.points[0].chunk_id, cosine=1, bm25=None)]) == 1
    assert truth.recall([Hit(chunk_id=some[2].points[0].chunk_id, cosine=1, bm25=None)]) == 0


async def test_what_is_not_there_need_not_be_found() -> None:
    index = await forgetful(documents(3), lambda ef, where: 0)
    assert (await nearest(index, SCOPE, QUERIES[0], 10)).wanted == 3
    nothing = await nearest(index, SCOPE, QUERIES[0], 10, Range("sample", gte=2))
    assert nothing.recall([]) == 1


@given(st.integers(0, 30), st.integers(1, 30), st.data())
def test_recall_is_a_share(wanted: int, more: int, data: st.DataObject) -> None:
    ids = [uuid4() for _ in range(wanted + more)]
    hits = [Hit(chunk_id=key, cosine=0.5, bm25=None) for key in data.draw(st.lists(st.sampled_from(ids), max_size=60))]
    truth = Truth(ids=frozenset(ids), wanted=wanted)
    assert 0 <= truth.recall(hits) <= 1


RECALLS = st.lists(st.integers(0, 10).map(lambda hits: hits / 10), min_size=1, max_size=60)


@given(RECALLS)
def test_the_bound_is_a_share_below_the_mean(recalls: list[float]) -> None:
    assert 0 <= surely(recalls, 10) <= sum(recalls) / len(recalls) + 1e-9


@given(RECALLS)
def test_the_same_of_more_queries_is_surer(recalls: list[float]) -> None:
    assert surely(recalls, 10) <= surely(recalls * 4, 10) + 1e-9


@pytest.mark.parametrize("correlated", [0.0, 0.5])
def test_the_bound_holds_for_nineteen_samples_of_twenty(correlated: float) -> None:
    """Also where hits of a query are missed together: with chance `correlated` all share one fate."""
    random = np.random.default_rng(4)
    held = []
    for _ in range(1000):
        own = random.random((200, 10)) < 0.95
        alike = (random.random((200, 1)) < 0.95) & np.ones((1, 10), dtype=bool)
        hits = np.where(random.random((200, 1)) < correlated, alike, own)
        held.append(surely(hits.mean(axis=1).tolist(), 10) <= 0.95)
    assert 0.93 < np.mean(held) < 0.99


def test_the_bound_is_that_of_wilson_where_hits_are_independent() -> None:
    """Its definition: the share from which the one that was found is 1.6449 standard errors away."""
    recalls = [1.0] * 50 + [0.9] * 50
    low = surely(recalls, 10)
    root = (0.95 - low) / np.sqrt(low * (1 - low) / 1000)
    assert root == pytest.approx(1.6449, abs=1e-3)


# --- the choice -----------------------------------------------------------------------------------------------------

CURVES = st.integers(1, 6).flatmap(
    lambda steps: st.lists(st.lists(st.floats(0, 1), min_size=steps, max_size=steps), min_size=1, max_size=4)
)


def curve(bounds: list[float], share: float = 1.0) -> Curve:
    return Curve(
        share=share,
        figures=[
            Figures(ef=ef, recall=min(1.0, low + 0.01), at_least=low, p50_ms=ef / 50, p99_ms=ef / 20, qps=9000 / ef)
            for ef, low in zip(EFS, bounds, strict=False)
        ],
    )


@given(CURVES, st.floats(0, 1))
def test_the_choice_is_the_cheapest_that_reaches_the_target_everywhere(rows: list[list[float]], target: float) -> None:
    chosen = cheapest([curve(row) for row in rows], target)
    reaching = [ef for place, ef in enumerate(EFS[: len(rows[0])]) if all(row[place] >= target for row in rows)]
    assert chosen == (reaching[0] if reaching else None)


@given(st.integers(1, 2000))
def test_breadths_grow_from_k(k: int) -> None:
    efs = breadths(k)
    assert efs[0] >= k
    assert all(1.3 < after / before <= 1.5 for before, after in pairwise(efs))
    assert efs[-1] <= max(1000, k + 7)
    assert len(efs) > 1 or k > 600


# --- the report -----------------------------------------------------------------------------------------------------


def test_the_report_draws_every_figure_and_needs_nothing_else() -> None:
    tuning = Tuning(
        plan=Plan(recall=0.9, k=10, efs=EFS),
        queries=200,
        curves=[curve([0.7, 0.92, 0.97]), curve([0.6, 0.895, 0.93], share=0.01)],
        left_out={0.001: 4},
        ef=32,
    )
    text = page(tuning, collection="<mine>", engine="edge", model="m")
    assert "&lt;mine&gt;" in text
    assert not re.search(r'(src|href|url)\s*[=(]\s*"?(?!#)', text)
    svg = ET.fromstring(re.search(r"<svg viewBox.*?</svg>", text, re.S)[0])  # type: ignore[index]
    marks = [(each.get("class"), each.findtext("title") or "") for each in svg.iter("g")]
    assert [title.split(":")[0] for _, title in marks] == [
        *(f"no filter, ef {ef}" for ef in EFS[:3]),
        *(f"1 %, ef {ef}" for ef in EFS[:3]),
    ]
    assert ["filled" in (style or "") for style, _ in marks] == [False, True, True, False, False, True]
    assert text.count("<tr class=chosen>") == 2
    assert "A filter of 0.1 % is left out: it lets 4 chunks through at most." in text
    assert "<strong>ef 32</strong> is the least" in text


def test_the_report_can_draw_what_is_all_alike() -> None:
    tuning = Tuning(plan=Plan(recall=0.9, k=10, efs=EFS), queries=9, curves=[curve([0.8])], left_out={}, ef=None)
    assert "No breadth surely reaches a recall@10 of 0.9" in page(tuning, collection="c", engine="edge", model="m")
