"""Embeddings computed in this process: ONNX Runtime on the CPU, one text a run, each text in one thread."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from ragstone.embedding import fingerprint
from ragstone.embedding.base import Lane
from ragstone.embedding.encoder import GRAPH_VERSION, load_encoder, load_tokenizer
from ragstone.embedding.files import cache_folder, locate
from ragstone.embedding.limit import fit, well_formed
from ragstone.embedding.model_list import LocalModel, local_model, ranges_of
from ragstone.embedding.precision import Precision, best_precision
from ragstone.models import Fingerprint, Vectors

T = TypeVar("T")


class LocalEmbedder:
    """A model of models.toml. Made at no cost: files are located and loaded when they are first needed.

    Documents have a thread for each core, at the lowest priority; queries have one of their own at the normal one,
    so that bulk work in the same process does not hold a query up. Methods other than `embed` and `aclose` may be
    called from any thread.
    """

    def __init__(self, *, model: LocalModel, cache_dir: Path, precision: Precision, threads: int) -> None:
        self._model = model
        self._cache_dir = cache_dir
        self.precision = precision
        self._tokenizer = _Lazy(lambda: load_tokenizer(self._folder()))
        self._encoder = _Lazy(lambda: load_encoder(model, self._folder(), precision, self.fingerprint.digest[:16]))
        documents = ThreadPoolExecutor(threads, "embed-document", initializer=_give_way)
        self._lanes: dict[Lane, ThreadPoolExecutor] = {
            "query": ThreadPoolExecutor(1, "embed-query"),
            "live": documents,
            "backfill": documents,
        }

    @classmethod
    def open(
        cls,
        name: str,
        cache_dir: Path | None = None,
        precision: Precision | Literal["auto"] = "auto",
        threads: int = 0,
    ) -> LocalEmbedder:
        """The model of that name. 0 threads is one a core. Raises SettingsError for a name not in the list."""
        return cls(
            model=local_model(name),
            cache_dir=cache_folder(cache_dir),
            precision=best_precision() if precision == "auto" else precision,
            threads=threads or _cores(),
        )

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """From the pinned hashes: `locate` sees to it that no other files are loaded."""
        model, files = self._model, self._model.package.files
        return fingerprint.make(
            {
                "provider": "local",
                "model": model.name,
                "revision": f"{model.package.name} {model.package.version}",
                "files": dict(files),
                "dimensions": model.dimensions,
                "pooling": model.pooling,
                "normalised": True,
                "query_prefix": model.query_prefix,
                "document_prefix": model.document_prefix,
                "precision": self.precision,
                "graph": GRAPH_VERSION,
                "ranges": hashlib.sha256(ranges_of(model)).hexdigest(),
            },
            model.dimensions,
        )

    @cached_property
    def max_tokens(self) -> int:
        specials = len(self._tokenizer.get().encode("").ids)
        prefix = max(self.count(self._model.query_prefix), self.count(self._model.document_prefix))
        return self._model.max_tokens - specials - prefix

    def count(self, text: str) -> int:
        return len(self._tokenizer.get().encode(well_formed(text), add_special_tokens=False).ids)

    def warm(self) -> None:
        """Begin to load the model in the background. What goes wrong is told by the first `embed`."""
        self._lanes["query"].submit(self._encoder.get)

    async def embed(self, texts: Sequence[str], lane: Lane) -> Vectors:
        """As the contract says. A longer question is cut with a warning, a longer document text is an error.

        Raises ModelMissing or ModelCorrupt when the model's files are not there to be loaded.
        """
        loop = asyncio.get_running_loop()
        runs = [loop.run_in_executor(self._lanes[lane], self._embed, text, lane) for text in texts]
        try:
            rows = await asyncio.gather(*runs)
        except BaseException:
            for run in runs:
                run.cancel()
            raise
        return np.stack(rows) if rows else np.empty((0, self._model.dimensions), np.float32)

    async def aclose(self) -> None:
        """Drop what has not begun, and wait for what has."""
        for lane in self._lanes.values():
            await asyncio.to_thread(lane.shutdown, cancel_futures=True)

    def _embed(self, text: str, lane: Lane) -> npt.NDArray[np.float32]:
        prefix, tokenizer = self._model.prefix(lane), self._tokenizer.get()
        ids = tokenizer.encode(prefix + well_formed(text)).ids
        if len(ids) > self._model.max_tokens:
            ids = tokenizer.encode(prefix + fit(text, lane, self.max_tokens, self.count)).ids
        return self._encoder.get()(ids)

    def _folder(self) -> Path:
        return locate(self._model.package, self._cache_dir)


class _Lazy(Generic[T]):
    """A value made by the first thread that asks for it, while others wait; a failure is not kept."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._value: T | None = None

    def get(self) -> T:
        with self._lock:
            if self._value is None:
                self._value = self._make()
            return self._value


def _give_way() -> None:
    """Put the calling thread at the lowest priority. Only Linux has priorities for single threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
