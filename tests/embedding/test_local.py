from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from contracts.embedder import EmbedderContract
from ragstone.embedding import fingerprint
from ragstone.embedding.base import Lane
from ragstone.embedding.files import folder_of, pins_of
from ragstone.embedding.local import LocalEmbedder
from ragstone.embedding.model_list import LocalModel, Package
from ragstone.errors import FingerprintMismatch, ModelCorrupt, ModelMissing, SettingsError, TextsRefused


class TestLocalEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self, local: LocalEmbedder) -> LocalEmbedder:
        return local


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(max_size=80), min_size=1, max_size=6), data=st.data())
async def test_vectors_are_the_same_to_the_bit_in_any_order(
    local: LocalEmbedder, texts: list[str], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(texts))))
    vectors = await local.embed(texts, "live")
    np.testing.assert_array_equal(await local.embed([texts[place] for place in order], "live"), vectors[order])
    np.testing.assert_array_equal(await local.embed(texts[:1], "query"), vectors[:1])


@pytest.fixture
def copied(model: LocalModel, folder: Path, tmp_path: Path) -> Path:
    """A cache folder of its own, with the model in it."""
    target = folder_of(model.files_from, tmp_path)
    target.mkdir()
    for path in pins_of(model.files_from, tmp_path):
        (target / path).symlink_to(folder / path)
    return tmp_path


def with_other_weights(model: LocalModel, cache_dir: Path) -> LocalModel:
    """The model under the same name, with one matrix of its weights changed in the cache folder."""
    path = folder_of(model.files_from, cache_dir) / "model.safetensors"
    weights = load_file(path)
    weights["encoder.layer.5.output.dense.weight"] = weights["encoder.layer.5.output.dense.weight"][:, ::-1].copy()
    path.unlink()
    save_file(weights, path)
    pins = {**pins_of(model.files_from, cache_dir), path.name: sha256(path.read_bytes()).hexdigest()}
    assert isinstance(model.files_from, Package)
    return replace(model, files_from=replace(model.files_from, files=pins))


def test_a_model_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    embedder = LocalEmbedder.open("all-MiniLM-L6-v2", tmp_path)
    with pytest.raises(ModelMissing) as error:
        embedder.count("text")
    assert error.value.hint == "ragstone models pull all-MiniLM-L6-v2"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError) as error:
        LocalEmbedder.open("all-MiniLM-L6")
    assert "all-MiniLM-L6-v2" in error.value.hint


def test_it_is_made_without_loading_anything() -> None:
    script = (
        "import sys; from ragstone.embedding.local import LocalEmbedder;"
        "LocalEmbedder.open('all-MiniLM-L6-v2').fingerprint;"
        "print(sorted({'onnx', 'onnxruntime', 'tokenizers', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_built_graph_is_kept_and_a_broken_one_built_again(model: LocalModel, copied: Path) -> None:
    first = LocalEmbedder.open(model.name, copied, "int8", threads=1)
    vectors = await first.embed(["stone"], "live")
    (graph,) = folder_of(model.files_from, copied).glob("graph-int8-*.onnx")
    made = graph.stat().st_mtime_ns
    again = LocalEmbedder.open(model.name, copied, "int8", threads=1)
    np.testing.assert_array_equal(await again.embed(["stone"], "live"), vectors)
    assert graph.stat().st_mtime_ns == made
    graph.write_bytes(graph.read_bytes()[:1000])
    third = LocalEmbedder.open(model.name, copied, "int8", threads=1)
    np.testing.assert_array_equal(await third.embed(["stone"], "live"), vectors)
    assert graph.stat().st_size > 1000
    for embedder in (first, again, third):
        await embedder.aclose()


async def test_changed_weights_are_not_loaded(model: LocalModel, copied: Path) -> None:
    with_other_weights(model, copied)
    embedder = LocalEmbedder.open(model.name, copied)
    with pytest.raises(ModelCorrupt, match=r"model\.safetensors"):
        await embedder.embed(["stone"], "live")
    await embedder.aclose()


async def test_changed_weights_under_the_same_name_are_told_apart(
    model: LocalModel, copied: Path, local: LocalEmbedder
) -> None:
    probes = await fingerprint.probe(local)
    other = LocalEmbedder(
        model=with_other_weights(model, copied), cache_dir=copied, precision=local.precision, threads=1
    )
    with pytest.raises(FingerprintMismatch, match=r"model\.safetensors"):
        fingerprint.compare(local.fingerprint, other.fingerprint)
    with pytest.raises(FingerprintMismatch, match="cosine"):
        await fingerprint.check(probes, other)
    await fingerprint.check(probes, local)
    await other.aclose()


async def test_precisions_have_fingerprints_of_their_own(model: LocalModel, folder: Path) -> None:
    embedders = [LocalEmbedder.open(model.name, folder.parent, precision) for precision in ("int8", "int7", "fp32")]
    assert len({embedder.fingerprint.digest for embedder in embedders}) == 3
    for embedder in embedders:
        await embedder.aclose()


async def test_prefixes_are_put_before_each_lane(model: LocalModel, copied: Path, local: LocalEmbedder) -> None:
    prefixed = replace(model, query_prefix="query: ", document_prefix="passage of text: ")
    embedder = LocalEmbedder(model=prefixed, cache_dir=copied, precision=local.precision, threads=1)
    assert embedder.max_tokens == local.max_tokens - embedder.count("passage of text: ")
    prefixes: dict[Lane, str] = {"query": "query: ", "live": "passage of text: "}
    for lane, prefix in prefixes.items():
        expected = await local.embed([f"{prefix}stone"], "live")
        np.testing.assert_allclose(await embedder.embed(["stone"], lane), expected, atol=1e-6)
    await embedder.aclose()


async def test_a_question_does_not_wait_for_documents(local: LocalEmbedder) -> None:
    passages = ["a passage about rivers and stones " * 20] * 30
    earlier, later = (asyncio.create_task(local.embed(passages, "live")) for _ in range(2))
    await asyncio.sleep(0)
    await local.embed(["which river?"], "query")
    assert not earlier.done()
    await asyncio.gather(earlier, later)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities for single threads")
async def test_documents_give_way_to_questions(local: LocalEmbedder) -> None:
    await asyncio.gather(local.embed(["text"] * 4, "live"), local.embed(["text"], "query"))
    nice = {
        thread.name.rpartition("_")[0]: os.getpriority(os.PRIO_PROCESS, thread.native_id or 0)
        for thread in threading.enumerate()
    }
    assert nice["embed-document"] == 19
    assert nice["embed-query"] < 19


async def test_cancelled_work_is_dropped(local: LocalEmbedder) -> None:
    bulk = asyncio.create_task(local.embed(["a passage about rivers and stones " * 20] * 2000, "live"))
    await asyncio.sleep(0.05)
    bulk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bulk
    async with asyncio.timeout(20):  # the dropped texts would take three times as long
        assert len(await local.embed(["next"], "live")) == 1


async def test_a_refused_text_costs_the_others_nothing(local: LocalEmbedder) -> None:
    with pytest.raises(TextsRefused, match="1 of 3 texts") as told:
        await local.embed(["river", "water " * 300, "stone"], "live")
    assert "water water" in told.value.refused[1]
    np.testing.assert_array_equal(told.value.vectors[[0, 2]], await local.embed(["river", "stone"], "live"))
