"""BERT sentence encoders as ONNX graphs, built from safetensors without torch.

The graph takes `input_ids`, int32 [tokens], of one text and gives `embedding`, float32 [dimensions], of length 1.
One text a run needs no padding and no mask, and its vector cannot depend on any other text.

In the integer precisions each projection multiplies 8-bit activations, one scale a token and found at run time, by
8-bit weights, one scale an output column. Activations with a few large channels would lose the small ones; so with
the channel ranges of a calibration run, part of each channel's size is moved into the weights beforehand
(SmoothQuant, arXiv:2211.10438). Architecture: arXiv:1810.04805.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from ragstone.embedding.model_list import Pooling
from ragstone.embedding.precision import Precision
from ragstone.errors import ModelError

GELU_FLOOR = -0.17
"""GELU never goes below this, so that all 256 codes can be spent above it."""

Array: TypeAlias = npt.NDArray[Any] | np.generic
FloatArray: TypeAlias = npt.NDArray[np.float32]

_MICROSOFT = "com.microsoft"
_LARGEST_WEIGHT = {"int8": 127, "int7": 63}
_SMOOTHING = 0.5  # how much of the channels' sizes moves into the weights, as an exponent


def build(folder: Path, pooling: Pooling, precision: Precision, ranges: Sequence[FloatArray] = ()) -> bytes:
    """The serialised graph of the model in the folder. `ranges` come from `build_observed`'s outputs.

    Raises ModelError when the model is not a BERT.
    """
    graph = Graph()
    project = Exact() if precision == "fp32" else Quantised(_LARGEST_WEIGHT[precision], ranges)
    _Encoder(folder, graph, project).encode(pooling)
    return graph.serialise(observed=())


def build_observed(folder: Path, pooling: Pooling) -> tuple[bytes, list[str]]:
    """The fp32 graph with the inputs of all projections, in order, as further outputs; and their names."""
    graph, project = Graph(), Observed()
    _Encoder(folder, graph, project).encode(pooling)
    return graph.serialise(project.inputs), project.inputs


class Graph:
    """An ONNX graph in the making: operators take and give names of values; arrays become constants."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str | Array, domain: str = "", output: str = "", **attributes: Any) -> str:
        """Add an operator with one output; its name is returned."""
        return self._add(kind, inputs, [output or f"{kind}_{len(self._nodes)}"], domain, attributes)[0]

    def split(self, value: str, parts: int, axis: int) -> list[str]:
        """Equal parts of a value along an axis."""
        outputs = [f"Split_{len(self._nodes)}_{part}" for part in range(parts)]
        return self._add("Split", (value,), outputs, "", {"axis": axis, "num_outputs": parts})

    def serialise(self, observed: Sequence[str]) -> bytes:
        inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["tokens"])]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("embedding", *observed)]
        graph = helper.make_graph(self._nodes, "encoder", inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_MICROSOFT, 1)]
        return bytes(helper.make_model(graph, ir_version=10, opset_imports=opsets).SerializeToString())

    def _add(
        self, kind: str, inputs: Sequence[str | Array], outputs: list[str], domain: str, attributes: dict[str, Any]
    ) -> list[str]:
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self._nodes.append(helper.make_node(kind, names, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs

    def _constant(self, value: Array) -> str:
        self._constants.append(
            numpy_helper.from_array(np.asarray(value, order="C"), f"constant_{len(self._constants)}")
        )
        return self._constants[-1].name


class Projection(Protocol):
    """Adds `x @ weight (+ bias)` to a graph: [tokens, K] by [K, N]. It is known that x is never below `floor`."""

    def __call__(
        self, graph: Graph, x: str, weight: FloatArray, bias: FloatArray | None = None, *, floor: float | None = None
    ) -> str: ...


class Exact:
    """In float32."""

    def __call__(
        self, graph: Graph, x: str, weight: FloatArray, bias: FloatArray | None = None, *, floor: float | None = None
    ) -> str:
        return graph.op("MatMul", x, weight) if bias is None else graph.op("Gemm", x, weight, bias)


class Observed(Exact):
    """In float32, noting the names of the inputs."""

    def __init__(self) -> None:
        self.inputs: list[str] = []

    def __call__(
        self, graph: Graph, x: str, weight: FloatArray, bias: FloatArray | None = None, *, floor: float | None = None
    ) -> str:
        self.inputs.append(x)
        return super().__call__(graph, x, weight, bias, floor=floor)


class Quantised:
    """In 8-bit integers, one scale a token and one an output column."""

    def __init__(self, largest: int, ranges: Sequence[FloatArray]) -> None:
        self._largest = largest
        self._ranges: Iterator[FloatArray] | None = iter(ranges) if ranges else None

    def __call__(
        self, graph: Graph, x: str, weight: FloatArray, bias: FloatArray | None = None, *, floor: float | None = None
    ) -> str:
        if floor is not None:
            x = graph.op("Sub", x, np.float32(floor))
        smoothing = self._smoothing(weight)
        if smoothing is not None:
            x, weight = graph.op("Mul", x, 1 / smoothing), weight * smoothing[:, None]
        scale = np.abs(weight).max(0) / np.float32(self._largest)
        codes = np.rint(weight / scale).astype(np.int8)
        product = self._multiply(graph, x, codes, scale, unsigned=floor is not None)
        if floor is not None:  # what was taken off x, times what the weights have become
            offset = np.float32(floor) if smoothing is None else np.float32(floor) / smoothing[:, None]
            bias = (0 if bias is None else bias) + (offset * codes).sum(0, dtype=np.float32) * scale
        return product if bias is None else graph.op("Add", product, bias)

    def _smoothing(self, weight: FloatArray) -> FloatArray | None:
        """For each channel what its inputs are divided by, and its weights multiplied with."""
        if self._ranges is None:
            return None
        inputs = np.maximum(next(self._ranges), 1e-3) ** _SMOOTHING
        weights = np.maximum(np.abs(weight).max(1), 1e-6) ** (1 - _SMOOTHING)
        factors: FloatArray = (inputs / weights).astype(np.float32)
        factors /= factors.mean()
        return factors

    @staticmethod
    def _multiply(graph: Graph, x: str, codes: Array, column_scale: FloatArray, *, unsigned: bool) -> str:
        """Quantise x by row and multiply. Signed values are stored with a zero point of 128."""
        zero, top_code = (0, 255) if unsigned else (128, 127)
        magnitude = x if unsigned else graph.op("Abs", x)
        largest = graph.op("ReduceMax", magnitude, _integers(1), keepdims=0)
        scale = graph.op("Max", graph.op("Mul", largest, np.float32(1 / top_code)), np.float32(1e-10))
        zeros = graph.op("Expand", np.array([zero], np.uint8), graph.op("Shape", scale))
        quantised = graph.op("QuantizeLinear", x, scale, zeros, axis=0)
        product = graph.op(
            "MatMulIntegerToFloat", quantised, codes, np.float32(1), column_scale, np.uint8(zero), domain=_MICROSOFT
        )
        return graph.op("Mul", product, graph.op("Unsqueeze", scale, _integers(1)))


class _Encoder:
    """The layers of one model, added to a graph in order."""

    def __init__(self, folder: Path, graph: Graph, project: Projection) -> None:
        self._config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if (self._config["model_type"], self._config["hidden_act"]) != ("bert", "gelu"):
            raise ModelError(f"the model in {folder} is not a BERT with GELU")
        weights = load_file(folder / "model.safetensors")
        self._weights = {name.removeprefix("bert."): array for name, array in weights.items()}
        self._graph = graph
        self._project = project
        self._width: int = self._config["hidden_size"]

    def encode(self, pooling: Pooling) -> None:
        x = self._embed()
        for layer in range(self._config["num_hidden_layers"]):
            x = self._attend(x, f"encoder.layer.{layer}.attention.")
            x = self._feed_forward(x, f"encoder.layer.{layer}.")
        if pooling == "mean":
            pooled = self._graph.op("ReduceMean", x, _integers(0), keepdims=0)
        else:
            pooled = self._graph.op("Gather", x, np.int64(0), axis=0)
        self._graph.op("LpNormalization", pooled, output="embedding", axis=-1, p=2)

    def _embed(self) -> str:
        graph = self._graph
        positions = self._array("embeddings.position_embeddings.weight")
        positions = positions + self._array("embeddings.token_type_embeddings.weight")[0]
        length = graph.op("Shape", "input_ids")
        position_rows = graph.op("Slice", positions, _integers(0), length, _integers(0))
        word_rows = self._look_up(self._array("embeddings.word_embeddings.weight"))
        return self._normalise(graph.op("Add", word_rows, position_rows), "embeddings.LayerNorm")

    def _look_up(self, table: FloatArray) -> str:
        """Rows of the word table. It is the largest array by far, so integer precisions keep it in 8 bits too."""
        graph = self._graph
        if isinstance(self._project, Exact):
            return graph.op("Gather", table, "input_ids")
        scale = np.maximum(np.abs(table).max(1, keepdims=True) / np.float32(127), np.float32(1e-10))
        codes = np.rint(table / scale).astype(np.int8)
        rows = graph.op("Cast", graph.op("Gather", codes, "input_ids"), to=TensorProto.FLOAT)
        return graph.op("Mul", rows, graph.op("Gather", scale, "input_ids"))

    def _attend(self, x: str, name: str) -> str:
        graph = self._graph
        parts = [f"{name}self.{part}." for part in ("query", "key", "value")]
        weight = np.concatenate([self._array(f"{part}weight").T for part in parts], axis=1)
        bias = np.concatenate([self._array(f"{part}bias") for part in parts])
        projected = graph.op("Reshape", self._project(graph, x, weight), _integers(1, -1, 3 * self._width))
        heads = self._config["num_attention_heads"]
        query_key_value = graph.split(projected, 3, axis=2)
        mixed = graph.op("MultiHeadAttention", *query_key_value, bias, domain=_MICROSOFT, num_heads=heads)
        flat = graph.op("Reshape", mixed, _integers(-1, self._width))
        out = self._project(graph, flat, *self._dense(f"{name}output.dense"))
        return self._normalise(graph.op("Add", out, x), f"{name}output.LayerNorm")

    def _feed_forward(self, x: str, name: str) -> str:
        graph = self._graph
        weight, bias = self._dense(f"{name}intermediate.dense")
        inner = graph.op("BiasGelu", self._project(graph, x, weight), bias, domain=_MICROSOFT)
        out = self._project(graph, inner, *self._dense(f"{name}output.dense"), floor=GELU_FLOOR)
        return self._normalise(graph.op("Add", out, x), f"{name}output.LayerNorm")

    def _normalise(self, x: str, name: str) -> str:
        weight, bias = self._array(f"{name}.weight"), self._array(f"{name}.bias")
        return self._graph.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=self._config["layer_norm_eps"])

    def _dense(self, name: str) -> tuple[FloatArray, FloatArray]:
        return self._array(f"{name}.weight").T, self._array(f"{name}.bias")

    def _array(self, name: str) -> FloatArray:
        return self._weights[name].astype(np.float32)


def _integers(*values: int) -> Array:
    return np.array(values, np.int64)
