"""`fsck` and the commands of the index itself, as operators run them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from catalog.material import generation, version
from ragstone.catalog.catalog import Catalog
from ragstone.cli.index_group import _print_generations
from ragstone.cli.main import app
from ragstone.errors import SettingsError, SourceError
from ragstone.index.edge.client import EdgeIndex
from workers import WorkerProcess

RUNNER = CliRunner()


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Path:
    """A folder with settings, and two documents in the catalog and in an edge index; one has lost a point there."""
    (tmp_path / "ragstone.toml").write_text(f'[database]\nurl = "{database_url}"\n[index]\nlinger = 5\n')
    asyncio.run(fill(tmp_path, database_url))
    return tmp_path


async def fill(folder: Path, url: str) -> None:
    catalog = await Catalog.open(url)
    _, made = await generation(catalog)
    await catalog.publish(made, [version("file:///docs/a", ["one", "two"]), version("file:///docs/b", ["three"])])
    await catalog.serve(made)
    index = EdgeIndex.open(folder / ".ragstone", url, linger=5)
    changes, position = await catalog.replacements(0, 10)
    assert await index.wait(position, 20)
    whole = next(change for change in changes if len(change.points) == 2)
    stray = replace(whole, tenant="nobody")
    await index.apply([replace(whole, points=whole.points[:1])], position)
    await index.apply([replace(stray, points=(replace(whole.points[1], chunk_id=whole.document_id),))], position)
    await index.aclose()
    await catalog.aclose()


def ragstone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("RAGSTONE_")} | {"COLUMNS": "150"}
    command = [sys.executable, "-m", "ragstone", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)


def printed(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_what_is_wrong_is_told_and_mended(home: Path) -> None:
    status = printed(ragstone(home, "index", "status", "--json"))
    assert (status["engine"], status["lag"], status["audit"]) == ("edge", 0, None)
    assert [(row["tenant"], row["state"], row["chunks"], row["points"]) for row in status["generations"]] == [
        ("acme", "serving", 3, 2),
        ("nobody", "left over", 0, 1),
    ]

    found = printed(ragstone(home, "fsck", "--json"), 1)
    wrong = {kind: count for kind, count in found["left"]["points"].items() if count}
    assert (found["clean"], wrong) == (False, {"missing": 1, "wrong_tenant": 1})
    assert [one["uris"] for one in found["found"]["scopes"] if one["tenant"] == "acme"] == [["file:///docs/a"]]

    told = ragstone(home, "fsck", "--repair")
    assert told.returncode == 0, told.stderr
    assert "compared 3 points of 1 generations" in told.stdout
    assert "wrong tenant" in told.stdout
    assert "/docs/a\n" in told.stdout
    assert "mended: 1 documents written again, 1 generations let go" in told.stdout
    assert "the index holds what the catalog does" in told.stdout

    status = ragstone(home, "index", "status")
    assert "found nothing wrong" in status.stdout
    assert "nobody" not in status.stdout


def test_tables_cut_nothing_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    row = {"tenant": "acme-international", "collection": "handbook-2026", "generation": uuid4(), "state": "left over"}
    with redirect_stdout(StringIO()) as shown:
        _print_generations([{**row, "chunks": 12_345_678, "points": 12_345_678}])
    for whole in (str(row["generation"])[:8], "left over", "12,345,678"):
        assert whole in shown.getvalue()
    assert "…" not in shown.getvalue()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("snapshot", "nowhere/saved.tar.gz"), "there is no folder nowhere"),
        (("snapshot", "."), "is a directory"),
        (("restore", "."), "is a directory"),
        (("status", "more"), "ragstone index status [OPTIONS]"),
    ],
)
def test_what_cannot_be_done_with_the_index_is_told_before_anything_starts(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = ragstone(tmp_path, "index", *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert not (tmp_path / ".ragstone").exists()


def test_an_index_is_saved_put_back_as_it_was_and_rebuilt(home: Path) -> None:
    made = ragstone(home, "index", "snapshot", "saved.tar.gz")
    assert made.returncode == 0, made.stderr
    assert "saved.tar.gz: 3 points at position 2" in made.stdout
    restored = ragstone(home, "index", "restore", "saved.tar.gz")
    assert restored.returncode == 0, restored.stderr
    assert "restored 3 points, at position 2" in restored.stdout
    done = printed(ragstone(home, "index", "rebuild", "--json"))
    points = {kind: count for kind, count in done["found"]["points"].items() if count}
    assert (done["documents"], done["clean"], points) == (2, True, {"wrong_tenant": 1})


async def test_a_worker_tells_what_its_audit_finds_and_mends_nothing(home: Path) -> None:
    async with WorkerProcess.several(1, home, "--jobs-only") as (worker,):
        await worker.says("(1 missing, 1 wrong tenant): `ragstone fsck` tells where")
        await worker.stop()
    assert "1 missing, 1 wrong tenant" in ragstone(home, "index", "status").stdout


def test_help_shows_what_the_index_has_for_paths_and_for_itself() -> None:
    shown = RUNNER.invoke(app, ["index", "--help"], env={"COLUMNS": "150", "TERM": "dumb"}).output
    for word in ("paths", "--strict", "--allow-empty", "status", "rebuild", "snapshot", "restore"):
        assert word in shown
    assert "--from-scratch" in RUNNER.invoke(app, ["index", "rebuild", "--help"], env={"COLUMNS": "150"}).output


@pytest.mark.parametrize(
    "arguments",
    [("nowhere",), ("--json", "nowhere"), ("nowhere", "--json"), ("./rebuild",), ("--strict", "rebuild")],
    ids=" ".join,
)
def test_what_is_no_command_of_the_index_is_a_path(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ragstone.toml").write_text(f'[database]\nurl = "{database_url}"\n[index]\nurl = "exact"\n')
    error = RUNNER.invoke(app, ["index", *arguments]).exception
    assert isinstance(error, SourceError)
    assert "no such file or folder" in str(error)


def test_other_engines_have_their_own_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url, tool in (("pgvector", "pg_dump"), ("qdrant+http://localhost:1", "/snapshots"), ("exact", "made anew")):
        (tmp_path / "ragstone.toml").write_text(f'[index]\nurl = "{url}"\n')
        error = RUNNER.invoke(app, ["index", "snapshot", "file"]).exception
        assert isinstance(error, SettingsError)
        assert tool in error.hint
