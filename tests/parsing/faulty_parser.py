"""A parser for the tests of the pool: it does what a document tells it to, on purpose the worst."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time

from ragstone.errors import EncryptedDocument
from ragstone.models import Document
from ragstone.parsing import wire
from ragstone.parsing.parse import parse as honest

KEPT: list[bytearray] = []


def parse(data: bytes, name: str, charset: str | None, ocr: str | None) -> Document:  # noqa: C901
    command, _, argument = data.decode().partition(" ")
    match command:
        case "sleep":
            time.sleep(float(argument))
        case "loop":
            while True:
                pass
        case "swell":
            KEPT.append(bytearray(b"\1") * (int(argument) * 2**20))
        case "dereference":
            ctypes.string_at(0)
        case "exit":
            os._exit(int(argument))
        case "fail":
            raise KeyError(argument)
        case "quote":
            raise ValueError("half a pair: \ud800")
        case "languages":
            return honest(f"ocr {ocr}".encode(), name)
        case "answer-size":
            wire.frame = lambda payload: int(argument).to_bytes(wire.PREFIX, "big")
        case "refuse":
            raise EncryptedDocument(f"{name} needs a password", hint="save a copy without one")
        case "print":
            print("a library says hello", flush=True)
            os.write(1, b"\0" * 100)
        case "start":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", argument])
            time.sleep(1000)
        case "answer":
            wire.frame = lambda payload: len(argument).to_bytes(wire.PREFIX, "big") + argument.encode()
        case "number":
            return honest(f"# {os.getpid()}".encode(), "number.md")
    return honest(data, name, charset, ocr)
