"""What a command that answers from a warm folder must not load, for it has to print its first words in a second."""

from __future__ import annotations

import subprocess
import sys

HEAVY = "fastapi uvicorn openai onnx onnxruntime trafilatura lxml pypdfium2 sqlalchemy qdrant_edge"


def test_the_door_loads_nothing_heavy() -> None:
    code = f"import sys, ragstone.app, ragstone.cli.main; print(*({set(HEAVY.split())} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
