"""Which failures are tried again, and when."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone import errors
from ragstone.errors import DocumentUnavailable, ProviderUnavailable, RagstoneError, SourceError
from ragstone.indexing.retry import CAP, FIRST, OF_THE_CONTENT, judge, wait

LATER = {"unavailable", "source", "provider_unavailable", "catalog_unavailable"}


def kinds() -> list[type[RagstoneError]]:
    """Every error that is raised on purpose."""
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, RagstoneError)]
    return [one for one in found if one is not errors.TextsRefused]  # an embedder's own: it takes vectors to make one


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.code)
def test_every_error_has_its_judgement(kind: type[RagstoneError]) -> None:
    expected = "stop"
    if kind.code in LATER:
        expected = "later"
    elif issubclass(kind, errors.DocumentError):
        expected = "document"
    assert judge(kind("what")) == expected


def test_only_failures_of_the_content_come_again_for_certain() -> None:
    """A file without permission may get it, and what was away may come back."""
    documents = {kind.code for kind in kinds() if issubclass(kind, errors.DocumentError)}
    assert documents - OF_THE_CONTENT == {"unreadable", "unavailable", "gone"}
    assert documents >= OF_THE_CONTENT


@given(st.integers(1, 10**6), st.integers())
def test_each_try_waits_twice_as_long_up_to_a_cap_less_a_random_part(attempt: int, seed: int) -> None:
    whole = min(CAP, FIRST * 2 ** min(attempt - 1, 60))
    assert whole / 2 <= wait(SourceError("busy"), attempt, Random(seed)) <= whole


def test_those_that_failed_together_do_not_come_back_together() -> None:
    random = Random(3)
    assert len({wait(SourceError("busy"), 5, random) for _ in range(100)}) == 100


@given(st.integers(1, 20), st.floats(0, 10**6), st.sampled_from([DocumentUnavailable, ProviderUnavailable]))
def test_who_asks_for_time_gets_it_up_to_the_cap(
    attempt: int, asked: float, kind: type[DocumentUnavailable] | type[ProviderUnavailable]
) -> None:
    given_ = wait(kind("busy", retry_after=asked), attempt, Random(1))
    assert given_ >= min(asked, CAP)
    assert given_ == max(min(asked, CAP), wait(kind("busy"), attempt, Random(1)))
