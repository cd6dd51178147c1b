from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ragstone.models import Candidate, Passage, Scope
from ragstone.retrieval.neighbours import join
from ragstone.retrieval.parents import widened
from ragstone.telemetry import Stage
from retrieval.candidates import candidate

TEXT = "\n\n".join(f"Section {n}.\n\n" + " ".join(f"Word{n}{m}." for m in range(8)) for n in range(6))
SCOPE = Scope(tenant="t", generation=UUID(int=1), fingerprint="f")


@dataclass
class Versions:
    """A catalog of one text, of which some versions are current."""

    current: Sequence[UUID]
    asked: int = 0

    async def texts(self, generation_id: UUID, tenant: str, spans: Sequence[tuple[UUID, int, int]]) -> list[str | None]:
        assert (generation_id, tenant) == (SCOPE.generation, SCOPE.tenant)
        self.asked += len(spans)
        return [TEXT[start:end] if version in self.current else None for version, start, end in spans]


def hit(start: int, end: int, parent: tuple[int, int] | None, *, n: int, version: int = 1) -> Candidate:
    return candidate(
        TEXT[start:end], n=n, ordinal=10 * n, start=start, parent=parent, version=version, fused=1 / (n + 1)
    )


async def shown(*candidates: Candidate, stage: Stage | None = None) -> tuple[Passage, ...]:
    reader = Versions([UUID(int=2001), UUID(int=2002)])
    return join(await widened(candidates, reader, SCOPE, stage or Stage(name="parents")))


async def test_a_parent_is_shown_in_its_chunks_place() -> None:
    [passage] = await shown(hit(20, 27, (12, 60), n=1))
    assert (passage.start, passage.end, passage.text) == (12, 59, TEXT[12:59])
    assert passage.chunk_ids == (UUID(int=1),)
    assert passage.core == (20, 27)


async def test_chunks_of_one_parent_are_one_passage_and_its_text_is_read_once() -> None:
    reader, stage = Versions([UUID(int=2001)]), Stage(name="parents")
    found = await widened([hit(20, 27, (12, 60), n=1), hit(40, 47, (12, 60), n=2)], reader, SCOPE, stage)
    [passage] = join(found)
    assert passage.text == TEXT[12:59]
    assert passage.core == (20, 47)
    assert reader.asked == 1
    assert stage.note == "2 chunks in 1 parents"


async def test_parents_that_touch_are_joined_and_those_that_do_not_stay_apart() -> None:
    first, second, third = (0, 77), (77, 154), (160, 200)
    passages = await shown(hit(0, 9, first, n=3), hit(80, 90, second, n=2), hit(170, 180, third, n=1))
    assert [(p.start, p.end) for p in passages] == [third, (0, len(TEXT[:154].rstrip()))]


async def test_versions_are_never_joined() -> None:
    assert len(await shown(hit(0, 9, (0, 77), n=1), hit(0, 9, (0, 77), n=2, version=2))) == 2


async def test_what_is_not_current_any_more_is_dropped_and_told() -> None:
    stage = Stage(name="parents")
    [passage] = await shown(hit(0, 9, (0, 77), n=1, version=3), hit(0, 9, (0, 77), n=2), stage=stage)
    assert passage.chunk_ids == (UUID(int=2),)
    assert [(drop.chunk_id, drop.reason) for drop in stage.drops] == [
        (UUID(int=1), "deleted or superseded since its chunk was read")
    ]


async def test_chunks_without_parents_stay_as_they_are_and_nothing_is_read() -> None:
    reader, stage = Versions([]), Stage(name="parents")
    found = [hit(0, 9, None, n=1)]
    assert await widened(found, reader, SCOPE, stage) == found
    assert (reader.asked, stage.note) == (0, "")
    assert join(found)[0].core is None


@st.composite
def hits(draw: st.DrawFn) -> list[Candidate]:
    found = []
    for n in range(1, draw(st.integers(2, 7))):
        start = draw(st.integers(0, len(TEXT) - 2).filter(lambda at: not TEXT[at].isspace()))
        end = draw(st.integers(start + 1, min(len(TEXT), start + 40)).filter(lambda at: not TEXT[at - 1].isspace()))
        before, after = draw(st.integers(0, 60)), draw(st.integers(0, 60))
        found.append(hit(start, end, (max(0, start - before), min(len(TEXT), end + after)), n=n))
    return found


@given(hits())
async def test_passages_are_exact_hold_their_chunks_and_never_overlap(found: list[Candidate]) -> None:
    passages = await shown(*found)
    seen: set[int] = set()
    for passage in passages:
        assert passage.text == TEXT[passage.start : passage.end]
        assert seen.isdisjoint(range(passage.start, passage.end))
        seen.update(range(passage.start, passage.end))
        for inside in (c for c in found if c.chunk.id in passage.chunk_ids):
            assert passage.start <= inside.chunk.start < inside.chunk.end <= passage.end
    assert sorted(i for p in passages for i in p.chunk_ids) == sorted(c.chunk.id for c in found)
