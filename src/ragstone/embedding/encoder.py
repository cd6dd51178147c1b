"""Token ids → vector on ONNX Runtime, and the cache of built graphs."""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ragstone.embedding.files import write_whole
from ragstone.embedding.layout import ONNX, SAFETENSORS
from ragstone.embedding.model_list import LocalModel, Pooling, ranges_of
from ragstone.embedding.precision import Precision
from ragstone.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GRAPH_VERSION = 1
"""Part of every local fingerprint: raised when `bert` comes to give other vectors from the same weights."""

Vector: TypeAlias = npt.NDArray[np.float32]

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_OUTPUTS = ("sentence_embedding", "last_hidden_state", "token_embeddings")

_log = logging.getLogger(__name__)


class Encoder(Protocol):
    """One model, loaded. It may be called from many threads at once; each call computes in its caller's thread."""

    def __call__(self, ids: Sequence[int]) -> Vector:
        """The unit-length vector of one text's token ids, special tokens included."""
        ...


class BertEncoder:
    """A graph of `bert.build`, which pools and normalises by itself."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self, ids: Sequence[int]) -> Vector:
        vector: Vector = self._session.run(None, {"input_ids": np.array(ids, np.int32)})[0]
        return vector


class OnnxEncoder:
    """An exported graph with the inputs that transformers have. Raises ModelError for one with others.

    It gives `sentence_embedding`, [1, dimensions], or a vector for each token, [1, tokens, dimensions], to be pooled.
    """

    def __init__(self, session: Any, pooling: Pooling) -> None:
        self._session = session
        self._pooling = pooling
        self._inputs = {each.name for each in session.get_inputs()}
        given = {each.name for each in session.get_outputs()}
        self._output = next((name for name in _OUTPUTS if name in given), "")
        if not self._output or "input_ids" not in self._inputs or not self._inputs <= _INPUTS:
            raise ModelError(
                f"the ONNX file takes {sorted(self._inputs)} and gives {sorted(given)}",
                hint=f"it must take input_ids, may take {sorted(_INPUTS)}, and must give one of {list(_OUTPUTS)}",
            )

    def __call__(self, ids: Sequence[int]) -> Vector:
        tokens = np.array([ids], np.int64)
        feed = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "token_type_ids": np.zeros_like(tokens)}
        output: Vector = self._session.run([self._output], {name: feed[name] for name in self._inputs})[0][0]
        if output.ndim == 2:
            output = output.mean(0) if self._pooling == "mean" else output[0]
        return (output / np.linalg.norm(output)).astype(np.float32)


def load_encoder(
    model: LocalModel, files: Collection[str], folder: Path, scratch: Path, precision: Precision, key: str
) -> Encoder:
    """The encoder from those files of the model's folder. Raises ModelError.

    A graph built from safetensors is kept in `scratch` under `key`, which must change with all that shapes it; where
    that cannot be written to, it is built each time.
    """
    if SAFETENSORS not in files:
        return _load_onnx(model, next(folder / name for name in ONNX if name in files), precision)
    path = scratch / f"graph-{precision}-{key}.onnx"
    if path.exists():
        try:
            return BertEncoder(open_session(str(path)))
        except Exception as error:  # noqa: BLE001  ONNX Runtime raises a class for each of its status codes
            _log.warning("building %s again: %s", path, error)
    graph = build(model, folder, precision)
    try:
        write_whole(path, graph)
    except OSError as error:
        _log.warning("cannot keep the built graph, so the next start will build it again: %s", error)
    return BertEncoder(open_session(graph))


def _load_onnx(model: LocalModel, path: Path, precision: Precision) -> Encoder:
    if precision != "fp32":
        raise SettingsError(f"{model.name} is run from its ONNX file as it is", hint="unset embedding.precision")
    try:
        session = open_session(str(path))
    except Exception as error:  # as above
        raise ModelError(f"{path} cannot be loaded: {error}") from error
    return OnnxEncoder(session, model.pooling)


def open_session(graph: str | bytes) -> Any:
    """An ONNX Runtime session of a graph or of the file at a path.

    It computes in its caller's thread and does not spin: parallel work is many texts at once, and an idle model
    takes no CPU.
    """
    from onnxruntime import InferenceSession, SessionOptions  # type: ignore[attr-defined]  # re-exported unmarked

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors, which are raised as well
    return InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def load_tokenizer(folder: Path) -> Tokenizer:
    """The model's tokenizer, which neither pads nor truncates: both would be silent."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def build(model: LocalModel, folder: Path, precision: Precision) -> bytes:
    """The model's graph, with its calibration ranges."""
    from ragstone.embedding import bert

    ranges: list[bert.FloatArray] = []
    if calibration := ranges_of(model):
        with np.load(io.BytesIO(calibration)) as arrays:
            ranges = [arrays[name].astype(np.float32) for name in arrays.files]
    return bert.build(folder, model.pooling, precision, ranges)
