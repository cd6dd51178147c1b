"""Embeddings computed in this process: ONNX Runtime on the CPU, one text a run, each text in one thread."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np

from ragstone.embedding import fingerprint
from ragstone.embedding.base import Lane, Usage
from ragstone.embedding.choosing import choose
from ragstone.embedding.encoder import DESCRIPTION, GRAPH_VERSION, Encoder, load_encoder, load_tokenizer
from ragstone.embedding.files import cache_folder, locate, pins_of, scratch_of
from ragstone.embedding.limit import Outcome, fit, gathered, well_formed
from ragstone.embedding.model_list import Hub, LocalModel, Origin, Package, ranges_of
from ragstone.embedding.precision import Precision, best_precision
from ragstone.errors import ModelCorrupt, ModelError, ProviderError
from ragstone.models import Fingerprint, Vectors

T = TypeVar("T")


class LocalEmbedder:
    """A model that runs here. Made at no cost: files are located and loaded when they are first needed.

    Documents have a thread for each core, at the lowest priority; queries have one of their own at the normal one,
    so that bulk work in the same process does not hold a query up. Methods other than `embed` and `aclose` may be
    called from any thread.
    """

    def __init__(self, *, model: LocalModel, cache_dir: Path, precision: Precision, threads: int) -> None:
        self._model = model
        self._cache_dir = cache_dir
        self._usage = Usage()
        self.precision = precision
        self._tokenizer = _Lazy(lambda: load_tokenizer(self._folder()))
        self._encoder = _Lazy(self._load)
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
        *,
        revision: str = "",
        query_prefix: str | None = None,
        document_prefix: str | None = None,
    ) -> LocalEmbedder:
        """The model of that name, of the hub id at the revision, or in the folder. 0 threads is one a core.

        Raises SettingsError for a name of none of these, and ModelError when the files of a model that is not listed
        are not there or not understood.
        """
        cache = cache_folder(cache_dir)
        model = choose(name, revision, cache, query_prefix=query_prefix, document_prefix=document_prefix)
        best = best_precision() if model.ranges else "fp32"
        return cls(
            model=model,
            cache_dir=cache,
            precision=best if precision == "auto" else precision,
            threads=threads or _cores(),
        )

    @property
    def price(self) -> float:
        return 0.0

    @property
    def usage(self) -> Usage:
        return self._usage

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """With the hashes of the files; no others are loaded. Raises ModelError where they are not known yet."""
        model = self._model
        return fingerprint.make(
            {
                "provider": "local",
                **_identity(model.files_from, model.name),
                "files": dict(pins_of(model.files_from, self._cache_dir)),
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

    async def embed(self, texts: Sequence[str], lane: Lane) -> Vectors:
        """As the contract says. A longer question is cut with a warning, a longer document text is refused.

        Raises ModelMissing or ModelCorrupt when the model's files are not there to be loaded.
        """
        loop = asyncio.get_running_loop()
        runs = [loop.run_in_executor(self._lanes[lane], self._embed, text, lane) for text in texts]
        try:
            outcomes = await asyncio.gather(*runs)
        except BaseException:
            for run in runs:
                run.cancel()
            raise
        self._usage = replace(
            self._usage, texts=self._usage.texts + len(outcomes), requests=self._usage.requests + bool(outcomes)
        )
        return gathered(outcomes, self._model.dimensions)

    async def aclose(self) -> None:
        """Drop what has not begun, and wait for what has."""
        for lane in self._lanes.values():
            await asyncio.to_thread(lane.shutdown, cancel_futures=True)

    def _embed(self, text: str, lane: Lane) -> Outcome:
        prefix, tokenizer = self._model.prefix(lane), self._tokenizer.get()
        try:
            ids = tokenizer.encode(prefix + well_formed(text)).ids
            if len(ids) > self._model.max_tokens:
                ids = tokenizer.encode(prefix + fit(text, lane, self.max_tokens, self.count)).ids
        except ProviderError as error:
            return error
        return self._vector(ids, text)

    def _vector(self, ids: Sequence[int], text: str) -> Outcome:
        """Raises ModelError when the model cannot be run, or its vectors are of another size than it says."""
        encoder, name = self._encoder.get(), self._model.name
        try:
            vector = encoder(ids)
        except Exception as error:  # ONNX Runtime raises a class for each of its status codes
            raise ModelError(f"the model {name} cannot be run: {error}", hint=DESCRIPTION) from error
        if vector.shape != (self._model.dimensions,):
            given = "×".join(map(str, vector.shape))
            raise ModelError(
                f"the model {name} gives vectors of {given} numbers, not of {self._model.dimensions}", hint=DESCRIPTION
            )
        if not np.all(np.isfinite(vector)):
            return ProviderError(f"the model {name} has no vector for a text that starts with {text[:60]!r}")
        return vector

    def _load(self) -> Encoder:
        current, scratch = self.fingerprint, scratch_of(self._model.files_from, self._cache_dir)
        return load_encoder(
            self._model, current.spec["files"], self._folder(), scratch, self.precision, current.digest[:16]
        )

    def _folder(self) -> Path:
        origin = self._model.files_from
        folder = locate(origin, self._cache_dir)
        if pins_of(origin, self._cache_dir) != self.fingerprint.spec["files"]:
            raise ModelCorrupt(f"the files in {folder} have changed since this process began", hint="start it again")
        return folder


def _identity(origin: Origin, name: str) -> dict[str, str]:
    """What a model is called. A folder has no name that lasts: its hashes tell it."""
    if isinstance(origin, Package):
        return {"model": name, "revision": f"{origin.name} {origin.version}"}
    if isinstance(origin, Hub):
        return {"model": origin.id, "revision": origin.revision}
    return {"model": "a folder", "revision": ""}


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
