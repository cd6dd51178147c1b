"""The commands that keep up with sources: `worker`, `jobs`, and the worker beside `serve`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragstone import settings
from ragstone.catalog.catalog import Catalog
from ragstone.catalog.queue import Job

KETTLE = "# Tea\n\nThe kettle is descaled on Thursday.\n"
SOURCE = '[sources.docs]\nkind = "folder"\npath = "docs"\n'
NOISE = ("procrastinate", "psycopg", "Traceback", "never retrieved", "Task was destroyed")


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Path:
    """A folder with settings that name one source, and a database."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "tea.md").write_text(KETTLE)
    (tmp_path / "ragstone.toml").write_text(f'[database]\nurl = "{database_url}"\n[index]\nurl = "exact"\n{SOURCE}')
    return tmp_path


def variables() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAGSTONE_")}
    return kept | {"COLUMNS": "150", "PYTHONUNBUFFERED": "1"}


def ragstone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ragstone", *arguments]
    return subprocess.run(command, cwd=folder, env=variables(), capture_output=True, text=True, timeout=60)


def printed(folder: Path, *arguments: str) -> Any:
    done = ragstone(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on. It is killed at the end when it has not ended by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ragstone", *arguments],
        cwd=folder,
        env=variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()


def lines_until(process: subprocess.Popen[str], wanted: Callable[[Any], bool], seconds: float = 60) -> list[Any]:
    """What a command prints as JSON lines, up to a wanted one."""
    assert process.stdout
    found: list[Any] = []
    until = time.monotonic() + seconds
    while not found or not wanted(found[-1]):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
        assert ready, f"only {found} came"
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        found.append(json.loads(line))
    return found


def ended(process: subprocess.Popen[str]) -> str:
    """What a command told on its standard error, when it has ended as it should."""
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert not any(word in err for word in NOISE), err
    return err


def named(name: str, fate: str) -> Callable[[Any], bool]:
    return lambda line: line["uri"].endswith(f"/{name}") and line.get("fate") == fate


def test_a_worker_indexes_what_is_saved_and_ends_when_it_is_told_to(home: Path) -> None:
    with started(home, "worker", "--json") as worker:
        [*_, first] = lines_until(worker, named("tea.md", "published"))
        assert (first["chunks"], first["embedded"]) == (1, 1)
        (home / "docs" / "gate.md").write_text("# Gate\n\nVisitors sign in at the gate.\n")
        lines_until(worker, named("gate.md", "published"))
        (home / "docs" / "tea.md").unlink()
        lines_until(worker, named("tea.md", "deleted"))
        assert printed(home, "status", "--json")["queue"]["workers"] == 1
        worker.send_signal(signal.SIGTERM)
        assert "following docs" in ended(worker)
    status = printed(home, "status", "--json")
    assert (status["stats"]["documents"], status["queue"]["workers"]) == (1, 0)
    assert printed(home, "jobs", "list", "--json") == {"jobs": [], "dead_letters": []}


def test_a_worker_for_people_tells_in_words_and_ends_at_ctrl_c(home: Path) -> None:
    with started(home, "worker") as worker:
        assert worker.stderr
        for line in worker.stderr:
            if "tea.md: published, 1 chunks, 1 embedded" in line:
                break
        worker.send_signal(signal.SIGINT)
        ended(worker)


def test_a_worker_serves_its_counters(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with started(home, "worker", "--json", "--metrics-port", str(port)) as worker:
        lines_until(worker, named("tea.md", "published"))
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'ragstone_documents_total{fate="published"} 1.0' in text
        assert "ragstone_chunks_total 1.0" in text
        again = ragstone(home, "worker", "--metrics-port", str(port))
        assert again.returncode == 1
        assert f"cannot serve metrics on port {port}" in again.stderr


def test_a_worker_ends_with_its_parent(home: Path) -> None:
    with started(home, "worker", "--json", "--with-parent") as worker:
        lines_until(worker, named("tea.md", "published"))
        assert worker.poll() is None
        ended(worker)  # closes standard input


def test_a_worker_ends_when_nobody_reads_it(home: Path) -> None:
    with started(home, "worker", "--json") as worker:
        lines_until(worker, named("tea.md", "published"))
        assert worker.stdout
        worker.stdout.close()
        worker.stdout = None
        (home / "docs" / "gate.md").write_text("# Gate\n\nVisitors sign in at the gate.\n")
        ended(worker)


def test_a_source_that_is_not_there_is_told_in_one_line(home: Path) -> None:
    done = ragstone(home, "worker", "nosuch")
    assert done.returncode == 1
    assert "error: nosuch: no such file or folder, and no source of that name" in done.stderr
    assert "Traceback" not in done.stderr
    assert "following" not in done.stderr


def test_a_source_that_cannot_be_read_keeps_no_other_from_being_indexed(home: Path) -> None:
    with (home / "ragstone.toml").open("a") as file:
        file.write('\n[sources.absent]\nkind = "folder"\npath = "absent"\n')
    done = ragstone(home, "sync", "absent", "docs")
    assert done.returncode == 1
    assert "docs: 1 indexed" in done.stdout
    assert "error: cannot read" in done.stderr


def test_dead_letters_are_listed_dropped_and_tried_again(home: Path) -> None:
    (home / "docs" / "scan.pdf").write_bytes(b"%PDF-1.7\nthis is no PDF")
    assert ragstone(home, "index").returncode == 0
    [letter] = printed(home, "jobs", "list", "--json")["dead_letters"]
    assert (letter["code"], letter["attempts"], letter["dropped"]) == ("broken", 1, False)
    assert f"  broken  try: {letter['hint']}\n    docs/scan.pdf: is " in ragstone(home, "jobs", "list").stdout
    assert printed(home, "index", "--json")["skipped"][0]["hint"] == letter["hint"]

    assert printed(home, "jobs", "drop", "--json", letter["uri"]) == {"documents": 1}
    assert "(dropped)" in ragstone(home, "jobs", "list").stdout
    assert "begins like this" in ragstone(home, "jobs", "retry", "docs/sacn.pdf").stderr

    assert printed(home, "jobs", "retry", "--json", "docs/scan") == {"documents": 1}
    listed = printed(home, "jobs", "list", "--json")
    assert [job["uri"] for job in listed["jobs"]] == [letter["uri"]]
    assert listed["dead_letters"] == []

    (home / "docs" / "scan.pdf").unlink()
    assert ragstone(home, "index").returncode == 0
    assert printed(home, "jobs", "list", "--json") == {"jobs": [], "dead_letters": []}
    assert "every document is indexed" in ragstone(home, "jobs", "list").stdout


async def waits_for_another_try(home: Path) -> None:
    """The document is in the queue as after a failure that may pass."""
    loaded = settings.load(home / "ragstone.toml")
    assert loaded.database.url
    catalog = await Catalog.open(loaded.database.url.get_secret_value())
    collection = await catalog.ensure_collection(loaded.tenant, loaded.collection)
    uri = (home / "docs" / "tea.md").as_uri()
    await catalog.queue.add(collection, [Job(source="docs", uri=uri, attempt=3, error="busy", delay=600)])
    await catalog.aclose()


def test_what_waits_for_another_try_is_tried_at_once_or_dropped_until_it_changes(home: Path) -> None:
    asyncio.run(waits_for_another_try(home))
    assert re.search(
        r"docs/tea.md \(docs\): again at .*, after 2 attempts: busy", ragstone(home, "jobs", "list").stdout
    )
    assert printed(home, "jobs", "retry", "--all", "--json") == {"documents": 1}
    [job] = printed(home, "jobs", "list", "--json")["jobs"]
    assert (job["due"], job["running"]) == (None, False)

    assert printed(home, "jobs", "drop", "--all", "--json") == {"documents": 1}
    listed = printed(home, "jobs", "list", "--json")
    assert listed["jobs"] == []
    assert [(one["dropped"], one["reason"], one["attempts"]) for one in listed["dead_letters"]] == [(True, "busy", 2)]
    assert printed(home, "index", "--json")["sources"]["docs"]["published"] == 0
    (home / "docs" / "tea.md").write_text(KETTLE + "\nAnd on Friday.\n")
    assert printed(home, "index", "--json")["sources"]["docs"]["published"] == 1
    assert printed(home, "jobs", "list", "--json") == {"jobs": [], "dead_letters": []}


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_jobs_must_be_named(home: Path, command: str) -> None:
    done = ragstone(home, "jobs", command)
    assert done.returncode == 2
    assert "name documents, or --all" in done.stderr
    assert printed(home, "jobs", command, "--all", "--json") == {"documents": 0}


# --- the worker beside serve ----------------------------------------------------------------------------------------


@contextmanager
def serving(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # Its output goes to a file: a pipe would have to be read all the time.
    with (home / "log").open("w") as log:
        command = [sys.executable, "-m", "ragstone", "serve", "--port", str(port)]
        process = subprocess.Popen(command, cwd=home, env=variables(), stdout=log, stderr=log)
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def finds(url: str, question: str, text: str, seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            found = httpx.post(f"{url}/v1/search", json={"question": question})
            if found.status_code == 200 and text in found.text:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    return False


def workers(parent: int) -> list[int]:
    """The processes that this one has started as workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            words = (path.parent / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(fields[1]) == parent and b"--with-parent" in words:
            found.append(int(path.parent.name))
    return found


def gone(process: int, seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_serve_keeps_up_and_leaves_no_worker_behind(home: Path, end: signal.Signals) -> None:
    with serving(home) as (process, url):
        assert finds(url, "When is the kettle descaled?", "Thursday"), (home / "log").read_text()
        (home / "docs" / "gate.md").write_text("# Gate\n\nVisitors sign in at the gate.\n")
        assert finds(url, "Where do visitors sign in?", "at the gate"), (home / "log").read_text()
        [worker] = workers(process.pid)
        process.send_signal(end)
        process.wait(timeout=30)
        assert gone(worker)
    log = (home / "log").read_text()
    assert not any(word in log for word in NOISE), log
