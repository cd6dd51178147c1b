"""Models in a folder of the user's, small and of random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from contracts.embedder import EmbedderContract
from embedding import tiny
from embedding.reference import Bert
from ragstone.embedding.encoder import load_tokenizer
from ragstone.embedding.local import LocalEmbedder
from ragstone.errors import ModelCorrupt, ModelError, ModelMissing, SettingsError, TextsRefused

TEXTS = ["river", "how deep is the river", "stone water stone", "unheard words", ""]


def opened(
    folder: Path, tmp_path: Path, query_prefix: str | None = None, document_prefix: str | None = None
) -> LocalEmbedder:
    return LocalEmbedder.open(
        str(folder), tmp_path / "cache", threads=1, query_prefix=query_prefix, document_prefix=document_prefix
    )


class TestSafetensors(EmbedderContract):
    @pytest.fixture
    def embedder(self, tmp_path: Path) -> LocalEmbedder:
        return opened(tiny.write_bert(tmp_path / "model"), tmp_path)


class TestOnnx(EmbedderContract):
    @pytest.fixture
    def embedder(self, tmp_path: Path) -> LocalEmbedder:
        return opened(tiny.write_onnx(tmp_path / "model"), tmp_path)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
async def test_a_bert_is_what_the_paper_says(tmp_path: Path, pooling: str) -> None:
    folder = tiny.write_bert(tmp_path / "model", pooling)
    embedder, reference, tokenizer = opened(folder, tmp_path), Bert(folder), load_tokenizer(folder)
    expected = np.stack([reference.embed(tokenizer.encode(text).ids)[pooling] for text in TEXTS])
    np.testing.assert_allclose(await embedder.embed(TEXTS, "live"), expected, atol=1e-5)
    assert embedder.precision == "fp32"
    await embedder.aclose()


@pytest.mark.parametrize("pooling", ["mean", "cls"])
async def test_an_onnx_file_is_pooled_as_its_folder_says(tmp_path: Path, pooling: str) -> None:
    folder = tiny.write_onnx(tmp_path / "model", pooling)
    embedder, tokenizer = opened(folder, tmp_path), load_tokenizer(folder)
    for text in TEXTS:
        rows = tiny.table()[tokenizer.encode(text).ids] + tiny.table()[0]
        pooled = rows.mean(0) if pooling == "mean" else rows[0]
        found = (await embedder.embed([text], "query"))[0]
        np.testing.assert_allclose(found, pooled / np.linalg.norm(pooled), atol=1e-5)
    await embedder.aclose()


async def test_an_onnx_file_with_other_outputs_is_told(tmp_path: Path) -> None:
    embedder = opened(tiny.write_onnx(tmp_path / "model", output="logits"), tmp_path)
    with pytest.raises(ModelError, match="logits"):
        await embedder.embed(["river"], "live")
    await embedder.aclose()


async def test_an_onnx_file_may_take_smaller_integers(tmp_path: Path) -> None:
    small = opened(tiny.write_onnx(tmp_path / "small", integers=TensorProto.INT32), tmp_path)
    usual = opened(tiny.write_onnx(tmp_path / "usual"), tmp_path)
    np.testing.assert_array_equal(await small.embed(TEXTS, "live"), await usual.embed(TEXTS, "live"))
    await small.aclose()
    await usual.aclose()


@pytest.mark.parametrize("name", ["model.onnx_data", "model.onnx.data"])
async def test_weights_beside_an_onnx_file_are_part_of_the_fingerprint(tmp_path: Path, name: str) -> None:
    folder = tiny.write_onnx(tmp_path / "model", weights_in=name)
    embedder = opened(folder, tmp_path)
    assert f"onnx/{name}" in embedder.fingerprint.spec["files"]
    await embedder.embed(["river"], "live")
    await embedder.aclose()
    content = bytearray((folder / "onnx" / name).read_bytes())
    content[500] ^= 64
    (folder / "onnx" / name).write_bytes(content)
    assert opened(folder, tmp_path).fingerprint != embedder.fingerprint


async def test_weights_that_no_hash_vouches_for_are_not_loaded(tmp_path: Path) -> None:
    embedder = opened(tiny.write_onnx(tmp_path / "model", weights_in="elsewhere.bin"), tmp_path)
    with pytest.raises(ModelError, match=r"weights in onnx/elsewhere\.bin"):
        await embedder.embed(["river"], "live")
    await embedder.aclose()


@pytest.mark.parametrize("write", [tiny.write_bert, tiny.write_onnx])
async def test_a_folder_that_lies_about_its_dimensions_is_told(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    folder = write(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 2 * tiny.WIDTH}))
    embedder = opened(folder, tmp_path)
    with pytest.raises(ModelError) as caught:
        await embedder.embed(["river"], "live")
    assert "config.json" in caught.value.hint
    await embedder.aclose()


async def test_a_text_without_a_vector_is_refused_and_no_other(tmp_path: Path) -> None:
    folder = tiny.write_onnx(tmp_path / "model")
    model = onnx.load(folder / "onnx/model.onnx")
    (table,) = [constant for constant in model.graph.initializer if constant.name == "table"]
    rows = tiny.table()
    rows[tiny.WORDS.index("stone")] = np.nan
    table.CopyFrom(numpy_helper.from_array(rows, "table"))
    onnx.save(model, folder / "onnx/model.onnx")
    embedder = opened(folder, tmp_path)
    with pytest.raises(TextsRefused, match="has no vector") as caught:
        await embedder.embed(["river", "deep stone", "water"], "live")
    assert list(caught.value.refused) == [1]
    assert np.isfinite(caught.value.vectors).all(axis=1).tolist() == [True, False, True]
    await embedder.aclose()


async def test_prefixes_come_from_the_folder_or_the_settings(tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path / "model")
    plain = opened(folder, tmp_path)
    expected = await plain.embed(["query : river", "river"], "live")
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "query : "}}))
    asking = opened(folder, tmp_path)
    np.testing.assert_allclose(await asking.embed(["river"], "query"), expected[:1], atol=1e-6)
    np.testing.assert_allclose(await asking.embed(["river"], "live"), expected[1:], atol=1e-6)
    assert asking.max_tokens == plain.max_tokens - 2 == tiny.POSITIONS - 4
    chosen = opened(folder, tmp_path, query_prefix="", document_prefix="query : ")
    np.testing.assert_allclose(await chosen.embed(["river"], "backfill"), expected[:1], atol=1e-6)
    for embedder in (plain, asking, chosen):
        await embedder.aclose()


def test_the_fingerprint_is_the_files_and_not_the_place(tmp_path: Path) -> None:
    digests = [
        opened(tiny.write_bert(tmp_path / name, seed=seed), tmp_path).fingerprint.digest
        for name, seed in (("first", 1), ("copy", 1), ("other", 2))
    ]
    assert digests[0] == digests[1] != digests[2]


async def test_weights_that_change_under_a_running_process_are_not_loaded(tmp_path: Path) -> None:
    embedder = opened(tiny.write_bert(tmp_path / "model", seed=1), tmp_path)
    before = embedder.fingerprint
    tiny.write_bert(tmp_path / "model", seed=2)
    with pytest.raises(ModelCorrupt, match="have changed"):
        await embedder.embed(["river"], "live")
    assert opened(tmp_path / "model", tmp_path).fingerprint != before
    await embedder.aclose()


async def test_nothing_is_written_into_the_folder(tmp_path: Path) -> None:
    folder = tiny.write_bert(tmp_path / "model")
    before = sorted(folder.rglob("*"))
    embedder = opened(folder, tmp_path)
    await embedder.embed(["river"], "live")
    await embedder.aclose()
    assert sorted(folder.rglob("*")) == before
    assert list((tmp_path / "cache").rglob("graph-fp32-*.onnx"))


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def with_step(folder: Path) -> None:
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without("config.json"), "no config.json"),
        (without("tokenizer.json"), "no tokenizer.json"),
        (without("model.safetensors"), "no weights"),
        (without("1_Pooling/config.json"), "mean or CLS"),
        (with_step, "Dense"),
        (lambda folder: (folder / "modules.json").write_text("7"), "not a list of steps"),
        (lambda folder: (folder / "config.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'), "hidden_size"),
    ],
)
def test_a_folder_that_is_no_model_says_why(tmp_path: Path, spoil: Callable[[Path], None], told: str) -> None:
    folder = tiny.write_bert(tmp_path / "model")
    spoil(folder)
    with pytest.raises(ModelError, match=told):
        opened(folder, tmp_path)


def test_a_folder_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="no folder"):
        opened(tmp_path / "none", tmp_path)


async def test_an_onnx_file_is_not_quantised(tmp_path: Path) -> None:
    embedder = LocalEmbedder.open(str(tiny.write_onnx(tmp_path / "model")), tmp_path, "int8", 1)
    with pytest.raises(SettingsError, match="ONNX"):
        await embedder.embed(["river"], "live")
    await embedder.aclose()
