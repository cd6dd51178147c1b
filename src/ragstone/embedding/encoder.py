"""Token ids → vector on ONNX Runtime, and the cache of built graphs."""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
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

DESCRIPTION = "what its config.json and tokenizer.json say may not be true of its weights"

Vector: TypeAlias = npt.NDArray[np.float32]

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
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
        self._inputs = {each.name: _INTEGERS.get(each.type) for each in session.get_inputs()}
        given = {each.name for each in session.get_outputs()}
        self._output = next((name for name in _OUTPUTS if name in given), "")
        known = "input_ids" in self._inputs and self._inputs.keys() <= _INPUTS and None not in self._inputs.values()
        if not self._output or not known:
            raise ModelError(
                f"the ONNX file takes {sorted(self._inputs)} and gives {sorted(given)}",
                hint=f"it must take input_ids, may take {sorted(_INPUTS)}, all of integers, "
                f"and must give one of {list(_OUTPUTS)}",
            )

    def __call__(self, ids: Sequence[int]) -> Vector:
        tokens = np.array([ids], np.int64)
        feed = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "token_type_ids": np.zeros_like(tokens)}
        given = {name: feed[name].astype(kind) for name, kind in self._inputs.items()}
        output: Vector = self._session.run([self._output], given)[0][0].astype(np.float32)
        if output.ndim == 2:
            output = output.mean(0) if self._pooling == "mean" else output[0]
        with np.errstate(invalid="ignore", divide="ignore"):  # who called sees what is no vector
            return (output / np.linalg.norm(output)).astype(np.float32)


def load_encoder(
    model: LocalModel, files: Collection[str], folder: Path, scratch: Path, precision: Precision, key: str
) -> Encoder:
    """The encoder from those files of the model's folder; no others are loaded. Raises ModelError.

    A graph built from safetensors is kept in `scratch` under `key`, which must change with all that shapes it; where
    that cannot be written to, it is built each time.
    """
    if SAFETENSORS not in files:
        return _load_onnx(model, next(name for name in ONNX if name in files), files, folder, precision)
    path = scratch / f"graph-{precision}-{key}.onnx"
    if path.exists():
        try:
            return BertEncoder(open_session(str(path)))
        except Exception as error:  # noqa: BLE001  ONNX Runtime raises a class for each of its status codes
            _log.warning("building %s again: %s", path, error)
    try:
        graph = build(model, folder, precision)
        session = open_session(graph)
    except ModelError:
        raise
    except Exception as error:  # as above, or a weight is missing
        raise ModelError(f"the model in {folder} cannot be built: {error!r}", hint=DESCRIPTION) from error
    try:
        write_whole(path, graph)
    except OSError as error:
        _log.warning("cannot keep the built graph, so the next start will build it again: %s", error)
    return BertEncoder(session)


def _load_onnx(model: LocalModel, name: str, files: Collection[str], folder: Path, precision: Precision) -> Encoder:
    path = folder / name
    if precision != "fp32":
        raise SettingsError(f"{model.name} is run from its ONNX file as it is", hint="unset embedding.precision")
    try:
        if unknown := _parts(name, folder) - set(files):
            raise ModelError(f"{path} has weights in {', '.join(sorted(unknown))}, which no hash vouches for")
        session = open_session(str(path))
    except ModelError:
        raise
    except Exception as error:  # as above
        raise ModelError(f"{path} cannot be loaded: {error}") from error
    return OnnxEncoder(session, model.pooling)


def _parts(name: str, folder: Path) -> set[str]:
    """The files beside an ONNX file that it keeps weights in, as paths of the model's folder."""
    import onnx
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    tensors = _get_all_tensors(onnx.load(folder / name, load_external_data=False))
    told = [entry for tensor in tensors if uses_external_data(tensor) for entry in tensor.external_data]
    return {str(PurePosixPath(name).parent / entry.value) for entry in told if entry.key == "location"}


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
