"""The embedded server: shared, stopped with its last user, back after any crash; and what is wrong with a folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ragstone.catalog import embedded
from ragstone.errors import CatalogError

USE = """
import sys
from pathlib import Path
import psycopg
from ragstone.catalog import embedded

server = embedded.start(Path(sys.argv[1]))
with psycopg.connect(server.url) as connection:
    print(connection.execute("SELECT pg_postmaster_start_time()::text").fetchone()[0], flush=True)
sys.stdin.read()
"""

STRANGER = """
import os, sys
from pathlib import Path
from ragstone.catalog import embedded

os.setgid(12345)
os.setuid(12345)
embedded.start(Path(sys.argv[1]))
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A new folder, in memory where that is possible, that other users may pass."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="ragstone-embedded-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _user(data_dir: Path) -> subprocess.Popen[str]:
    """A process that uses the server until its input ends. Its first line tells which server that is."""
    return subprocess.Popen(
        [sys.executable, "-c", USE, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _server_of(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    return user.stdout.readline()


def _end(user: subprocess.Popen[str]) -> None:
    user.communicate("")
    assert user.returncode == 0


def _ask(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


def _postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres/postmaster.pid").read_text().split()[0])


def _runs(data_dir: Path) -> bool:
    return (data_dir / "postgres/postmaster.pid").exists()


def test_processes_share_one_server_and_the_last_stops_it(data_dir: Path) -> None:
    users = [_user(data_dir) for _ in range(3)]  # all at once, in a folder that is not there yet
    try:
        assert len({_server_of(user) for user in users}) == 1
        for user in users[:2]:
            _end(user)
        assert _runs(data_dir)
        _end(users[2])
        assert not _runs(data_dir)
    finally:
        for user in users:
            user.kill()


def test_a_killed_user_does_not_keep_the_server_alive_forever(data_dir: Path) -> None:
    killed = _user(data_dir)
    before = _server_of(killed)
    killed.kill()
    killed.communicate()
    assert _runs(data_dir)
    next_user = _user(data_dir)
    assert _server_of(next_user) == before
    _end(next_user)
    assert not _runs(data_dir)


def test_handles_of_one_process_count_each(data_dir: Path) -> None:
    first, second = embedded.start(data_dir), embedded.start(data_dir)
    first.stop()
    first.stop()
    assert _ask(second.url, "SELECT 1") == 1
    second.stop()
    assert not _runs(data_dir)


def test_a_killed_server_is_started_anew_with_all_it_had(data_dir: Path) -> None:
    server = embedded.start(data_dir)
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    for _ in range(3):
        busy = psycopg.connect(server.url)  # its process outlives the server for a moment
        os.kill(_postmaster(data_dir), signal.SIGKILL)
        again = embedded.start(data_dir)
        assert _ask(again.url, "SELECT answer FROM kept") == 42
        again.stop()
        busy.close()
    server.stop()
    assert not _runs(data_dir)


def test_a_half_made_folder_is_made_anew(data_dir: Path) -> None:
    (data_dir / "postgres.new/base").mkdir(parents=True)
    (data_dir / "postgres.new/PG_VERSION").write_text("18\n")
    server = embedded.start(data_dir)
    assert _ask(server.url, "SELECT 1") == 1
    server.stop()
    assert sorted(path.name for path in data_dir.iterdir()) == ["postgres", "postgres.lock", "postgres.users"]


def test_the_number_of_a_dead_server_may_be_another_process_now(data_dir: Path) -> None:
    server = embedded.start(data_dir)
    number = _postmaster(data_dir)
    os.kill(number, signal.SIGKILL)
    time.sleep(0.1)
    owner = (data_dir / "postgres").stat().st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], user=owner) as other:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            file = data_dir / "postgres" / name
            file.write_text(file.read_text().replace(str(number), str(other.pid), 1))
        again = embedded.start(data_dir)
        assert _ask(again.url, "SELECT 1") == 1
        other.kill()
    again.stop()
    server.stop()


@pytest.mark.parametrize("name", ["a, b & \"c\" $(touch d) `e` 'f' %41 ü", "x" * 120])
def test_any_folder_name_will_do(data_dir: Path, name: str) -> None:
    server = embedded.start(data_dir / name / "data")
    assert _ask(server.url, "SHOW data_directory") == str(data_dir / name / "data/postgres")
    server.stop()
    assert not _runs(data_dir / name / "data")


def test_the_environment_of_another_postgresql_does_not_matter(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "5999", "PGHOST": "elsewhere", "PGDATA": "/nowhere", "PGDATABASE": "other"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LC_ALL", "xx_XX.nonsense")
    server = embedded.start(data_dir)
    assert _ask(server.url, "SELECT current_database() || current_setting('port')") == "postgres5432"
    server.stop()


def test_nobody_else_may_connect(data_dir: Path) -> None:
    server = embedded.start(data_dir)
    assert (data_dir / "postgres").stat().st_mode & 0o077 == 0
    assert _ask(server.url, "SHOW listen_addresses") == ""
    server.stop()


def test_a_folder_that_was_deleted_under_the_server(data_dir: Path) -> None:
    server = embedded.start(data_dir)
    number = _postmaster(data_dir)
    shutil.rmtree(data_dir)
    server.stop()
    os.kill(number, signal.SIGQUIT)


# --- folders that will not do -----------------------------------------------------------------------------------


def test_a_folder_of_another_version(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres/PG_VERSION").write_text("15\n")
    with pytest.raises(CatalogError, match="made by PostgreSQL 15") as caught:
        embedded.start(data_dir)
    assert "pg_upgrade" in caught.value.hint


def test_a_folder_of_something_else(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres/notes.txt").write_text("mine")
    with pytest.raises(CatalogError, match="not a PostgreSQL data folder"):
        embedded.start(data_dir)
    assert (data_dir / "postgres/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("place", ["/proc/ragstone", "/dev/null/ragstone"])
def test_a_place_where_nothing_can_be_made(place: str) -> None:
    with pytest.raises(CatalogError, match="cannot use the data folder") as caught:
        embedded.start(Path(place))
    assert "data_dir" in caught.value.hint


def test_a_damaged_folder_says_what_the_server_says(data_dir: Path) -> None:
    embedded.start(data_dir).stop()
    (data_dir / "postgres/global/pg_control").unlink()
    with pytest.raises(CatalogError, match="pg_control"):
        embedded.start(data_dir)


def test_a_disk_without_room(data_dir: Path) -> None:
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", data_dir]).returncode:
        pytest.skip("cannot mount a small file system")
    try:
        with pytest.raises(CatalogError, match="No space left on device") as caught:
            embedded.start(data_dir)
        assert "free disk space" in caught.value.hint
    finally:
        subprocess.run(["umount", "-l", data_dir], check=True)


def test_a_folder_of_another_user(data_dir: Path) -> None:
    """Root may use it, as its owner; anybody else may not."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    nobody = pwd.getpwnam("nobody")
    embedded.start(data_dir).stop()
    assert (data_dir / "postgres").stat().st_uid == nobody.pw_uid
    data_dir.chmod(0o777)
    for path in (data_dir / "postgres.lock", data_dir / "postgres.users"):
        path.chmod(0o666)
    stranger = subprocess.run([sys.executable, "-c", STRANGER, data_dir], capture_output=True, text=True)
    assert "belongs to another user" in stranger.stderr
