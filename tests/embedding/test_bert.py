from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedding.reference import Bert
from ragstone.embedding import bert
from ragstone.embedding.encoder import BertEncoder, build, load_tokenizer, open_session
from ragstone.embedding.model_list import LocalModel, Pooling
from ragstone.embedding.precision import Precision
from ragstone.errors import ModelError
from ragstone.models import Vectors

TEXTS = (
    "",
    "ragstone",
    "How do I make main return an error?",
    "Parental leave is sixteen weeks. It may be taken in two parts, and both parents have it.",
    'fn main() -> Result<(), Box<dyn Error>> {\n    let file = File::open("hello.txt")?;\n    Ok(())\n}',
    "Der Vertrag kann mit einer Frist von drei Monaten gekündigt werden.",
    "会議は三時に始まります。",
    "| item | price |\n| --- | --- |\n| lamp | 39.90 |",
    "https://example.org/a/b?c=d#e 0xdeadbeef 3.14159 -273.15 °C",
    "zqxj vvwk qqqq",
    "The mitochondrial membrane potential fell by 40 % within two hours of exposure (p < 0.001). " * 2,
    "word " * 100,
)


def vectors(graph: bytes, folder: Path) -> Vectors:
    encoder, tokenizer = BertEncoder(open_session(graph)), load_tokenizer(folder)
    return np.stack([encoder(tokenizer.encode(text).ids) for text in TEXTS])


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Vectors]:
    reference, tokenizer = Bert(folder), load_tokenizer(folder)
    found = [reference.embed(tokenizer.encode(text).ids) for text in TEXTS]
    return {pooling: np.stack([each[pooling] for each in found]) for pooling in ("mean", "cls")}


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_fp32_is_what_the_paper_says(folder: Path, expected: dict[str, Vectors], pooling: Pooling) -> None:
    found = vectors(bert.build(folder, pooling, "fp32"), folder)
    cosines = (found * expected[pooling]).sum(1)
    assert cosines.min() > 0.99999


@pytest.mark.parametrize(("precision", "least", "mean"), [("int8", 0.995, 0.998), ("int7", 0.99, 0.996)])
def test_integers_stay_close(
    folder: Path, model: LocalModel, expected: dict[str, Vectors], precision: Precision, least: float, mean: float
) -> None:
    cosines = (vectors(build(model, folder, precision), folder) * expected["mean"]).sum(1)
    assert cosines.min() > least
    assert cosines.mean() > mean


def test_calibration_ranges_bring_integers_closer(
    folder: Path, model: LocalModel, expected: dict[str, Vectors]
) -> None:
    plain = (vectors(bert.build(folder, "mean", "int8"), folder) * expected["mean"]).sum(1)
    calibrated = (vectors(build(model, folder, "int8"), folder) * expected["mean"]).sum(1)
    assert 1 - calibrated.mean() < 0.7 * (1 - plain.mean())


def test_seven_bit_weights_are_within_seven_bits(folder: Path, model: LocalModel) -> None:
    import onnx
    from onnx import numpy_helper

    def largest(precision: Precision) -> int:
        graph = onnx.load_from_string(build(model, folder, precision)).graph
        constants = {constant.name: constant for constant in graph.initializer}
        multiplied = [node.input[1] for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
        return max(int(np.abs(numpy_helper.to_array(constants[name]).astype(int)).max()) for name in multiplied)

    assert (largest("int8"), largest("int7")) == (127, 63)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "hidden_act": "relu", "hidden_size": 8}))
    with pytest.raises(ModelError, match="not a BERT"):
        bert.build(tmp_path, "mean", "fp32")
