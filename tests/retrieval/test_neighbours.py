"""Join: chunks that touch become one passage, with no text twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragstone.models import Candidate
from ragstone.retrieval.neighbours import join
from retrieval.candidates import candidate

TEXT = "Alpha beta gamma.\n\nDelta epsilon zeta eta.\n\nTheta iota kappa lambda mu.\n\nNu xi omicron pi rho sigma tau."


def cut(spans: list[tuple[int, int]]) -> list[Candidate]:
    return [
        candidate(TEXT[start:end], n=n, start=start, fused=1 / (n + 1), pages=(n + 1, n + 1))
        for n, (start, end) in enumerate(spans)
    ]


def test_overlapping_neighbours_become_one_passage_without_repetition() -> None:
    [passage] = join(cut([(0, 30), (19, 60)]))
    assert passage.text == TEXT[0:60]
    assert (passage.start, passage.end, passage.pages) == (0, 60, (1, 2))
    assert len(passage.chunk_ids) == 2


def test_neighbours_that_touch_are_parted_by_the_break_between_them() -> None:
    [passage] = join(cut([(0, 17), (19, 42)]))
    assert passage.text == TEXT[0:42]


def test_chunks_with_another_between_them_stay_apart_and_keep_their_rank() -> None:
    chunks = cut([(0, 17), (19, 42), (44, 71)])
    passages = join([chunks[2], chunks[0]])
    assert [(p.number, p.text) for p in passages] == [(1, TEXT[0:17]), (2, TEXT[44:71])]


def test_chunks_of_different_versions_are_never_joined() -> None:
    assert len(join([candidate("one", n=1, ordinal=0, version=1), candidate("two", n=2, ordinal=1, version=2)])) == 2


def test_the_heading_path_is_what_the_chunks_share() -> None:
    a = candidate("one", n=0, start=0, path=("Guide", "Leave", "Sick"))
    b = candidate("two", n=1, start=3, path=("Guide", "Leave", "Parental"))
    assert join([a, b])[0].path == ("Guide", "Leave")


def test_nothing_gives_nothing() -> None:
    assert join([]) == ()


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(0, 10), st.randoms())
def test_a_document_cut_with_overlap_is_put_together_again(sizes: list[int], overlap: int, random: object) -> None:
    spans, start = [], 0
    for size in sizes:
        end = min(len(TEXT), start + size)
        spans.append((max(0, start - overlap), end))
        start = end
        if start == len(TEXT):
            break
    chunks = cut(spans)
    random.shuffle(chunks)  # type: ignore[attr-defined]
    [passage] = join(chunks)
    assert passage.text == TEXT[: spans[-1][1]].rstrip()
