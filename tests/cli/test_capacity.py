"""`ragstone capacity` as people and scripts run it, where nothing is set up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ragstone.cli.capacity import duration, size
from ragstone.cli.main import app
from ragstone.errors import SettingsError


def capacity(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("RAGSTONE_", "FORCE_COLOR"))}
    command = [sys.executable, "-m", "ragstone", "capacity", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)


def test_people_see_sizes_times_money_and_where_they_come_from(tmp_path: Path) -> None:
    done = capacity(tmp_path, "--chunks", "50M", "--dim", "3072", "--engine", "qdrant", "--replicas", "2")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) < 80
    shown_whole = done.stdout.replace("\n  ", " ")
    head, *lines = done.stdout.splitlines()
    assert head == "50,000,000 chunks of 200 tokens, 3,072 dimensions, qdrant-scalar, 2 copies"
    shown = {line[:24].strip(): line[24:].strip() for line in lines if line[:1].isalpha()}
    assert "TiB" not in shown["Memory of the index"].partition(",")[2], "each node has its share"
    assert shown["Money for embedding"] == "1,300.00 US dollars: 10,000 million tokens at 0.13"
    assert "index.shards = " in shown["Shards"]
    assert "of 64 GiB" in shown["Nodes"]
    for said in ("text-embedding-3-large", "80%", "capacity planning", "make bench-capacity", "assumption"):
        assert said in shown_whole, said
    assert not list(tmp_path.iterdir()), "nothing is set up"


def test_programs_get_bytes_and_seconds(tmp_path: Path) -> None:
    arguments = (
        "--chunks",
        "1.5k",
        "--model",
        "bge-base-en-v1.5",
        "--memory-per-node",
        "512 MiB",
        "--cores",
        "4",
        "--json",
    )
    done = capacity(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["demand"]["chunks"] == 1500
    assert found["demand"]["dimensions"] == 768
    assert found["demand"]["memory_per_node"] == 512 * 2**20
    assert found["memory_bytes"] == round(sum(found["parts"]["memory"].values()))
    assert found["embedding"]["money"] == 0
    assert found["coefficients"]["memory"]["origin"]


def test_own_coefficients_are_used(tmp_path: Path) -> None:
    own = json.loads(capacity(tmp_path, "--chunks", "1", "--json").stdout)["coefficients"]
    free = {"origin": "made up"}
    names = ("memory", "disk", "building_memory", "building_disk", "write", "build")
    engine: dict[str, object] = dict.fromkeys(names, free) | {"memory": {"base": 3 * 2**20, "origin": "made up"}}
    shared = {name: own[name] for name in ("catalog", "embedding", "machine", "date", "cores")}
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(shared | {"engines": {"edge": engine}}))
    done = capacity(tmp_path, "--chunks", "1M", "--coefficients", str(file))
    assert "Memory of the index     3 MiB\n" in done.stdout
    assert "made up" in done.stdout
    refused = capacity(tmp_path, "--chunks", "1M", "--engine", "weaviate", "--coefficients", str(file))
    assert refused.returncode == 1
    assert "try: there are: edge" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--chunks", "many"], "50000, 200k or 50M"),
        (["--chunks", "0"], "50000, 200k or 50M"),
        (["--chunks", "1.2.3"], "50000, 200k or 50M"),
        (["--chunks", "1,5M"], "50000, 200k or 50M"),
        ([], "--chunks"),
        (["--chunks", "5", "--dim", "0"], "--dim"),
        (["--chunks", "5", "--memory-per-node", "a lot"], "512M or 64G"),
        (["--chunks", "5", "--engine", "pinecone"], "pgvector"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["capacity", *arguments])
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "somebody/something"], "the dimensions of somebody/something are not known"),
        (["--replicas", "2"], "edge has no replicas"),
        (["--coefficients", "none.json"], "cannot read none.json: No such file"),
    ],
)
def test_what_cannot_be_planned_is_told(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["capacity", "--chunks", "5", *arguments])
    assert isinstance(done.exception, SettingsError)
    assert said in str(done.exception)


def test_figures_are_short() -> None:
    assert [size(n) for n in (0, 900, 1536, 200 * 2**20, 1023.9 * 2**20, 3 * 2**50)] == [
        "0 B", "900 B", "1.5 KiB", "200 MiB", "1 GiB", "3,072 TiB"
    ]  # fmt: skip
    assert [duration(s) for s in (0.25, 90, 600, 7300, 200_000, 9e6)] == [
        "0.2 s", "90 s", "10 min", "2.0 h", "2.3 days", "104 days"
    ]  # fmt: skip
