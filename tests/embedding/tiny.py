"""Models of random weights, a few kilobytes in size, in the layout that hubs serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "river", "stone", "water", "deep", "how", "is", "the", "query", ":"]
WIDTH, INNER, LAYERS, HEADS, POSITIONS = 16, 32, 2, 2, 64


def write_bert(folder: Path, pooling: str | None = "cls", seed: int = 1) -> Path:
    """A BERT as safetensors. `pooling` None: nothing says how to pool."""
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "layer_norm_eps": 1e-12,
    }
    _describe(folder, config, pooling)
    save_file(_weights(seed), folder / "model.safetensors")
    return folder


def write_onnx(
    folder: Path,
    pooling: str = "mean",
    output: str = "last_hidden_state",
    integers: int = TensorProto.INT64,
    weights_in: str = "",
) -> Path:
    """An encoder that another tool exported: a table of vectors, one a token, plus that of token type 0."""
    _describe(folder, {"model_type": "other", "hidden_size": WIDTH, "max_position_embeddings": POSITIONS}, pooling)
    (folder / "onnx").mkdir(exist_ok=True)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = [helper.make_tensor_value_info(name, integers, ["batch", "tokens"]) for name in names]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Gather", ["types", "token_type_ids"], ["kinds"]),
        helper.make_node("Add", ["words", "kinds"], ["sum"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["sum", "column"], [output]),
    ]
    constants: dict[str, npt.NDArray[Any]] = {"table": table(), "types": table()[:2], "last": np.array([-1], np.int64)}
    graph = helper.make_graph(
        nodes,
        "encoder",
        inputs,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save_model(
        model,
        folder / "onnx/model.onnx",
        save_as_external_data=bool(weights_in),
        location=weights_in or None,
        size_threshold=100,
    )
    return folder


def table() -> npt.NDArray[np.float32]:
    """The vectors of the ONNX encoder's tokens."""
    return np.random.default_rng(7).normal(size=(len(WORDS), WIDTH)).astype(np.float32)


def _describe(folder: Path, config: dict[str, Any], pooling: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(WordPiece({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "README.md").write_text("not needed")
    if pooling:
        modes = {f"pooling_mode_{name}": name.startswith(pooling) for name in ("cls_token", "mean_tokens")}
        (folder / "1_Pooling").mkdir(exist_ok=True)
        (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": WIDTH, **modes}))


def _weights(seed: int) -> dict[str, npt.NDArray[np.float32]]:
    random = np.random.default_rng(seed)

    def matrix(*shape: int) -> npt.NDArray[np.float32]:
        return np.asarray(random.normal(0, 0.5, shape), np.float32)

    def dense(name: str, out: int, width: int) -> dict[str, npt.NDArray[np.float32]]:
        return {f"{name}.weight": matrix(out, width), f"{name}.bias": matrix(out)}

    def norm(name: str) -> dict[str, npt.NDArray[np.float32]]:
        return {f"{name}.weight": np.float32(1) + matrix(WIDTH), f"{name}.bias": matrix(WIDTH)}

    weights: dict[str, npt.NDArray[np.float32]] = {
        "embeddings.word_embeddings.weight": matrix(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": matrix(POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": matrix(2, WIDTH),
        **norm("embeddings.LayerNorm"),
    }
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            weights |= dense(f"{layer}.attention.self.{part}", WIDTH, WIDTH)
        weights |= dense(f"{layer}.attention.output.dense", WIDTH, WIDTH) | norm(f"{layer}.attention.output.LayerNorm")
        weights |= dense(f"{layer}.intermediate.dense", INNER, WIDTH)
        weights |= dense(f"{layer}.output.dense", WIDTH, INNER) | norm(f"{layer}.output.LayerNorm")
    return weights
