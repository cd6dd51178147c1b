"""The inside of a parser process: `python -m ragstone.parsing.worker_process PARSER SECONDS BYTES`.

Documents come in on standard input and go out on standard output, one at a time, until the input ends. What a
document can do here costs this process alone: the pool kills it and starts another.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ragstone.errors import BrokenDocument, DocumentError, DocumentTooCostly
from ragstone.models import Document
from ragstone.parsing import wire

NICE = 10
"""A parent that is as nice already is not to be waited for: it may feed on what is parsed here."""

Parser = Callable[[bytes, str, str | None, str | None], Document]


def main(parser: str, seconds: str, memory: str) -> None:
    _withdraw()
    requests, replies = _streams()
    parse = _load(parser)
    _limit_memory(int(memory))
    replies.write(wire.frame(b""))  # ready
    replies.flush()
    while head := _read(requests):
        request = wire.decode_request(head)
        data = _read(requests)
        signal.alarm(math.ceil(float(seconds)) + 1)  # should the pool be gone, or stuck
        reply = _reply(parse, data, request)
        signal.alarm(0)
        replies.write(wire.frame(reply))
        replies.flush()


def _withdraw() -> None:
    """Behind all other work, and only as long as the parent lives. It ends this process, no signal to all does."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(max(0, NICE - os.nice(0)))
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG: an endless loop does not see that the input has ended
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL, 0, 0, 0)


def _streams() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes, out of reach of whatever a library prints or reads."""
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def _load(parser: str) -> Parser:
    module, _, name = parser.partition(":")
    found: Parser = getattr(importlib.import_module(module), name)
    return found


def _limit_memory(most: int) -> None:
    """The system refuses more address space; macOS knows no such limit. A crash leaves no image of the memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        present = pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (present + most, present + most))


def _read(requests: BinaryIO) -> bytes:
    """A frame; nothing when the input has ended."""
    return requests.read(int.from_bytes(requests.read(wire.PREFIX), "big"))


def _reply(parse: Parser, data: bytes, request: wire.Request) -> bytes:
    try:
        return wire.encode(wire.Reply(document=parse(data, request.name, request.charset, request.ocr)))
    except DocumentError as error:
        return wire.encode(wire.failure(error))
    except MemoryError:
        message = f"{request.name} needs too much memory to be read"
        return wire.encode(wire.failure(DocumentTooCostly(message, hint="raise parsing.max_memory, or exclude it")))
    except Exception as error:  # noqa: BLE001 - what a parser does not expect of a document is the document's fault
        message = f"{request.name} cannot be read: {type(error).__name__}: {error}"[:1000]
        return wire.encode(wire.failure(BrokenDocument(message)))


if __name__ == "__main__":
    main(*sys.argv[1:])
