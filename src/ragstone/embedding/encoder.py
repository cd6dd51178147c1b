"""Token ids → vector on ONNX Runtime, and the cache of built graphs."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ragstone.embedding.files import write_whole
from ragstone.embedding.model_list import LocalModel, ranges_of
from ragstone.embedding.precision import Precision

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GRAPH_VERSION = 1
"""Part of every local fingerprint: raised when `bert` comes to give other vectors from the same weights."""

_log = logging.getLogger(__name__)


class Encoder:
    """One model, loaded. It may be called from many threads at once; each call computes in its caller's thread."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """The unit-length vector of one text's token ids, special tokens included."""
        vector: npt.NDArray[np.float32] = self._session.run(None, {"input_ids": np.array(ids, np.int32)})[0]
        return vector


def load_encoder(model: LocalModel, folder: Path, precision: Precision, key: str) -> Encoder:
    """The encoder from the model's folder. Its graph is built once and kept there under `key`.

    The key must change with all that shapes the graph. A folder that cannot be written to costs a build each time.
    """
    path = folder / f"graph-{precision}-{key}.onnx"
    if path.exists():
        try:
            return Encoder(open_session(str(path)))
        except Exception as error:  # noqa: BLE001  ONNX Runtime raises a class for each of its status codes
            _log.warning("building %s again: %s", path, error)
    graph = build(model, folder, precision)
    try:
        write_whole(path, graph)
    except OSError as error:
        _log.warning("cannot keep the built graph, so the next start will build it again: %s", error)
    return Encoder(open_session(graph))


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
