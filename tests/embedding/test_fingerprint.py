from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.embedding import fingerprint
from ragstone.embedding.local import LocalEmbedder
from ragstone.errors import FingerprintMismatch

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner, max_size=3)
)
SPECS = st.dictionaries(st.text(), VALUES, max_size=5)


@given(left=SPECS, right=SPECS)
def test_digests_are_equal_exactly_when_the_specs_are(left: dict[str, object], right: dict[str, object]) -> None:
    digests = [fingerprint.make(spec, 8).digest for spec in (left, right, dict(reversed(left.items())))]
    assert (digests[0] == digests[1]) == (repr(sorted(left.items())) == repr(sorted(right.items())))
    assert digests[0] == digests[2]


def test_a_mismatch_names_what_differs_and_what_to_do() -> None:
    stored = fingerprint.make({"model": "a", "precision": "int8", "pooling": "mean"}, 8)
    current = fingerprint.make({"model": "a", "precision": "fp32", "pooling": "mean", "graph": 2}, 8)
    fingerprint.compare(stored, stored)
    with pytest.raises(FingerprintMismatch) as error:
        fingerprint.compare(stored, current)
    assert str(error.value).endswith("graph was None, is 2; precision was 'int8', is 'fp32'")
    assert "ragstone reindex" in error.value.hint


async def test_probes_are_one_unit_vector_each(local: LocalEmbedder) -> None:
    probes = await fingerprint.probe(local)
    assert probes.shape == (len(fingerprint.PROBES), 384)


async def test_rounding_passes_and_one_turned_probe_does_not(local: LocalEmbedder) -> None:
    probes = await fingerprint.probe(local)
    noise = np.random.default_rng(1).normal(0, 1e-4, probes.shape).astype(np.float32)
    noisy = probes + noise
    await fingerprint.check(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), local)
    turned = probes.copy()
    turned[2] = probes[3]
    with pytest.raises(FingerprintMismatch, match=r"'ragstone' has a cosine of 0\.\d+") as error:
        await fingerprint.check(turned, local)
    assert "ragstone models pull" in error.value.hint
    assert "reindex" not in error.value.hint  # it would come to the same generation


@pytest.mark.parametrize("stored", [np.zeros((8, 10), np.float32), np.full((8, 384), np.nan, np.float32)])
async def test_probes_of_another_kind_do_not_pass(local: LocalEmbedder, stored: np.ndarray) -> None:
    with pytest.raises(FingerprintMismatch):
        await fingerprint.check(stored, local)
