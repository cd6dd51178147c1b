"""What a document may do to a parser process, and what becomes of the others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from ragstone.errors import (
    BrokenDocument,
    DocumentTooCostly,
    DocumentTooLarge,
    DocumentUnavailable,
    EmptyDocument,
    EncryptedDocument,
)
from ragstone.models import Document
from ragstone.parsing import wire
from ragstone.parsing.isolated import ParserPool
from ragstone.parsing.parse import parse
from ragstone.settings import ParsingSettings

HANDBOOK = Path(__file__).parents[2] / "examples" / "handbook" / "docs"

Make = Callable[..., ParserPool]


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Makes pools; none may leave a process behind."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    pools: list[ParserPool] = []

    def made(size: int = 1, parser: str = "faulty_parser:parse", **limits: Any) -> ParserPool:
        pools.append(ParserPool(ParsingSettings(**limits), size, parser))
        return pools[-1]

    yield made
    for pool in pools:
        await pool.aclose()
    assert not children()


_earlier: set[int] = set()


@pytest.fixture(autouse=True)
def _leave_out_processes_of_earlier_tests() -> None:
    _earlier.clear()
    _earlier.update(child.pid for child in psutil.Process().children(recursive=True))


def children() -> list[psutil.Process]:
    """Ours that parse, dead but not buried ones included."""
    found = psutil.Process().children(recursive=True)
    return [child for child in found if child.pid not in _earlier and is_parser(child)]


def is_parser(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE or "ragstone.parsing.worker_process" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def command_lines() -> list[list[str]]:
    return [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


async def number(pool: ParserPool) -> str:
    """Which process answers."""
    return (await pool.parse(b"number", "n")).title


@pytest.fixture
async def pool() -> AsyncIterator[ParserPool]:
    """With the real parser."""
    made = ParserPool(ParsingSettings(max_memory=128), 1)
    yield made
    await made.aclose()
    assert not children()


async def test_documents_are_those_that_the_parser_gives(pool: ParserPool) -> None:
    for path in sorted(HANDBOOK.rglob("*.*")):
        data = path.read_bytes()
        assert await pool.parse(data, path.name) == parse(data, path.name)


async def test_the_character_set_reaches_the_parser(pool: ParserPool) -> None:
    data = "Größe und Maß".encode("utf-16-le")
    assert (await pool.parse(data, "a.txt", "utf-16-le")).text == parse(data, "a.txt", "utf-16-le").text


async def test_ocr_is_asked_for_by_the_settings(make: Make) -> None:
    assert (await make().parse(b"languages", "a.txt")).text == "ocr None"
    assert (await make(ocr=True, ocr_languages="eng+deu").parse(b"languages", "a.txt")).text == "ocr eng+deu"


async def test_errors_come_across_as_they_are(make: Make) -> None:
    pool = make()
    with pytest.raises(EmptyDocument) as empty:
        await pool.parse(b"  ", "blank.txt")
    with pytest.raises(EncryptedDocument) as encrypted:
        await pool.parse(b"refuse", "secret.pdf")
    assert (str(empty.value), empty.value.hint) == ("blank.txt is empty", "")
    assert (str(encrypted.value), encrypted.value.hint) == ("secret.pdf needs a password", "save a copy without one")
    assert len(children()) == 1


async def test_a_document_over_the_size_limit_starts_nothing(make: Make) -> None:
    with pytest.raises(DocumentTooLarge, match=r"a\.txt has 11 bytes, the limit is 10"):
        await make(max_bytes=10).parse(b"x" * 11, "a.txt")
    assert not children()


def bomb(filters: int) -> bytes:
    """A PDF of one page, whose content unpacks to 400 MB of blanks."""
    packer = zlib.compressobj(9)
    content = b"".join([*(packer.compress(b" " * 2**20) for _ in range(400)), packer.flush()])
    for _ in range(filters - 1):
        content = zlib.compress(content, 9)
    names = b"/FlateDecode" * filters
    return (
        b"%%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R>>endobj\n"
        b"4 0 obj<</Length %d/Filter[%s]>>stream\n%s\nendstream endobj\n"
        b"trailer<</Size 5/Root 1 0 R>>\n%%%%EOF" % (len(content), names, content)
    )


async def test_a_decompression_bomb_costs_itself_alone(pool: ParserPool) -> None:
    data = bomb(filters=2)
    assert len(data) < 5000
    with pytest.raises(DocumentTooCostly, match=r"bomb.pdf needs more than 128 MiB of memory") as caught:
        await pool.parse(data, "bomb.pdf")
    assert "parsing.max_memory" in caught.value.hint
    assert (await pool.parse(b"# Next", "next.md")).title == "Next"


async def test_memory_that_the_system_refuses(make: Make) -> None:
    pool = make(max_memory=256)
    first = await number(pool)
    with pytest.raises(DocumentTooCostly, match="needs too much memory") as caught:
        await pool.parse(b"swell 100000", "huge.txt")
    assert "parsing.max_memory" in caught.value.hint
    assert await number(pool) != first


async def test_an_answer_larger_than_the_memory_limit_is_not_read(make: Make) -> None:
    with pytest.raises(DocumentTooCostly, match="128 MiB of memory"):
        await make(max_memory=128).parse(f"answer-size {2**40}".encode(), "a.txt")


async def test_memory_that_is_kept_costs_the_process(make: Make) -> None:
    pool = make(max_memory=256)
    first = await number(pool)
    assert await number(pool) == first
    await pool.parse(b"swell 100", "large.txt")
    assert await number(pool) != first


@pytest.mark.parametrize("endless", [b"loop", b"sleep 1000"])
async def test_an_endless_document_is_given_up(make: Make, endless: bytes) -> None:
    pool = make(timeout=0.5)
    with pytest.raises(DocumentTooCostly, match=r"a\.txt takes more than 0\.5 seconds") as caught:
        await pool.parse(endless, "a.txt")
    assert "parsing.timeout" in caught.value.hint
    assert len((await pool.parse(b"text", "b.txt")).text) == 4


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"dereference", r"a\.txt cannot be read: its parser was ended by SIGSEGV"),
        (b"exit 3", r"a\.txt cannot be read: its parser ended with status 3"),
        (b"fail here", r"a\.txt cannot be read: KeyError: 'here'"),
        (b"quote", r"ValueError: half a pair: \\ud800"),
        (b"answer nonsense", "no proper answer"),
        (b'answer {"document": null}', "no proper answer"),
        (b'answer {"failure": {"code": "new", "message": "m", "hint": ""}}', "no error has the code new"),
    ],
)
async def test_a_document_that_breaks_the_parser(make: Make, data: bytes, said: str) -> None:
    pool = make()
    with pytest.raises(BrokenDocument, match=said):
        await pool.parse(data, "a.txt")
    assert await number(pool)


@pytest.mark.parametrize(
    "change",
    [
        {"text": "a\0"},
        {"title": "\ud800"},
        {"title": 1},
        {"sections": [{"ordinal": 0, "parent": None, "level": 0, "path": [], "start": 0, "end": 5}]},
        {"sections": [{"ordinal": 0, "parent": 0, "level": 0, "path": [], "start": 0, "end": 4}]},
        {"blocks": [{"kind": "code", "start": 2, "end": 4}, {"kind": "code", "start": 1, "end": 2}]},
        {"blocks": [{"kind": "virus", "start": 0, "end": 4}]},
        {"page_starts": [0, 5]},
        {"metadata": {"a": "\0"}},
        {"metadata": {"a": float("nan")}},
    ],
)
def test_a_document_that_does_not_hold_together_is_not_believed(change: dict[str, object]) -> None:
    document: dict[str, object] = {
        "title": "t",
        "media_type": "text/plain",
        "text": "text",
        "sections": [],
        "blocks": [],
    }
    document |= {"metadata": {"path": r"c:\u0000"}}
    assert isinstance(wire.decode_reply(json.dumps({"document": document}).encode()), Document)
    with pytest.raises(ValueError):
        wire.decode_reply(json.dumps({"document": document | change}).encode())


async def test_a_process_that_is_killed_at_work_breaks_its_document_alone(make: Make) -> None:
    pool = make()
    await number(pool)
    work = asyncio.create_task(pool.parse(b"sleep 1000", "a.txt"))
    (child,) = children()
    await asyncio.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    with pytest.raises(BrokenDocument, match="SIGKILL"):
        await work
    assert await number(pool) != str(child.pid)


async def test_a_process_that_is_killed_at_rest_is_replaced(make: Make) -> None:
    pool = make()
    first = await number(pool)
    os.kill(int(first), signal.SIGKILL)
    await until(lambda: not psutil.pid_exists(int(first)))
    await asyncio.sleep(0.05)
    assert await number(pool) != first


async def test_a_cancelled_document_never_answers_for_the_next(make: Make) -> None:
    pool = make()
    for seconds in (0.0, 0.001, 0.01, 0.05, 0.3):
        work = asyncio.create_task(pool.parse(b"sleep 0.05", "cancelled.txt"))
        await asyncio.sleep(seconds)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert (await pool.parse(b"# Next", "next.md")).title == "Next"
    assert len(children()) == 1


async def test_what_a_library_prints_or_starts_stays_outside(make: Make) -> None:
    pool = make(timeout=1)
    assert (await pool.parse(b"print", "a.txt")).text == "print"
    mark = f"started-by-{os.getpid()}"
    with pytest.raises(DocumentTooCostly):
        await pool.parse(b"start " + mark.encode(), "a.txt")
    await until(lambda: not any(mark in line for line in command_lines()))


async def test_processes_work_side_by_side_and_no_more_than_asked_for(make: Make) -> None:
    pool = make(size=2)
    documents = await asyncio.gather(*(pool.parse(f"text {n}".encode(), f"{n}.txt") for n in range(40)))
    assert [document.text for document in documents] == [f"text {n}" for n in range(40)]
    slow = [asyncio.create_task(pool.parse(b"sleep 0.2", "slow.txt")) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert len(children()) == 2
    await asyncio.gather(*slow)
    assert len({*await asyncio.gather(number(pool), number(pool))}) == 2


async def test_closing_waits_for_what_is_being_read(make: Make) -> None:
    pool = make()
    work = asyncio.create_task(pool.parse(b"sleep 0.2", "a.txt"))
    await asyncio.sleep(0.01)
    await pool.aclose()
    assert (await work).text == "sleep 0.2"
    with pytest.raises(RuntimeError, match="closed"):
        await pool.parse(b"text", "b.txt")


async def test_a_parser_that_cannot_start_is_no_documents_fault(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DocumentUnavailable, match="ended with status 1"):
        await make(parser="no_such_module:parse").parse(b"text", "a.txt")
    assert "No module named 'no_such_module'" in capfd.readouterr().err


ORPHAN = """
import asyncio, os, sys
from ragstone.parsing.isolated import ParserPool
from ragstone.settings import ParsingSettings

async def main():
    pool = ParserPool(ParsingSettings(), 2, "faulty_parser:parse")
    print((await pool.parse(b"number", "n")).title, flush=True)
    await asyncio.gather(pool.parse(b"loop", "a.txt"), pool.parse(b"text", "b.txt"))

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a loop goes on to its time limit")
def test_parsers_end_with_a_parent_that_is_killed() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", ORPHAN], env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        while len(parsers := psutil.Process(parent.pid).children()) < 2:
            time.sleep(0.01)
        time.sleep(0.3)
        parent.kill()
    gone, alive = psutil.wait_procs(parsers, timeout=20)
    assert (len(gone), alive) == (2, [])
