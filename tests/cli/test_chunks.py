"""`ragstone chunks` as people and scripts run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

TEXT = "# Guide\n\nThe guide says *how*.\n\n" + "\n\n".join(
    f"## Part {n}\n\n" + " ".join(f"Sentence {m} of part {n} is here [x]." for m in range(12)) for n in range(4)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("chunks")
    (home / "guide.md").write_text(TEXT)
    (home / "program.md").write_bytes(b"\x7fELF\0\0\0")
    return home


def ragstone(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("RAGSTONE_", "FORCE_COLOR"))} | environment
    command = [sys.executable, "-m", "ragstone", "chunks", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("strategy", ["fixed", "semantic"])
def test_chunks_are_exact_and_within_the_limit(folder: Path, strategy: str) -> None:
    options = ("--strategy", strategy, "--max-tokens", "64", "--overlap", "0.3", "--parent", "section", "--json")
    done = ragstone(folder, "guide.md", *options)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["chunking"]["strategy"] == strategy
    sizes = [chunk["tokens"] for chunk in record["chunks"]]
    assert record["summary"] == {
        "count": len(sizes), "min": min(sizes), "median": median(sizes), "max": max(sizes), "limit": 64
    }  # fmt: skip
    assert max(sizes) <= 64
    for chunk in record["chunks"]:
        assert chunk["text"] == TEXT[chunk["start"] : chunk["end"]]
        assert chunk["parent"][0] <= chunk["start"] < chunk["end"] <= chunk["parent"][1]
    assert not (folder / ".ragstone").exists(), "no database is started"


def test_people_see_text_sizes_headings_and_overlaps(folder: Path) -> None:
    options = ("--max-tokens", "64", "--overlap", "0.3")
    shown = ragstone(folder, "guide.md", *options, FORCE_COLOR="1", NO_COLOR="", TERM="xterm").stdout
    assert "Guide › Part 1" in shown
    assert "[x]" in shown
    assert "\x1b[2mGuide > Part 1" in shown, "the prefix is dim"
    assert "\x1b[4;3" in shown, "what is repeated is underlined"
    assert "\x1b[36m" in shown
    assert "\x1b[32m" in shown
    plain = ragstone(folder, "guide.md", *options).stdout
    assert "\x1b" not in plain
    assert "limit 64; structure, overlap 30%" in plain.splitlines()[-1]
    assert " repeated" in plain


def test_the_models_limit_is_the_limit(folder: Path) -> None:
    done = ragstone(folder, "guide.md", "--max-tokens", "5000", "--json")
    assert json.loads(done.stdout)["summary"]["limit"] == 254


def test_mistakes_end_in_a_message(folder: Path) -> None:
    for wrong in (("no.md",), ("guide.md", "--overlap", "0.8")):
        assert ragstone(folder, *wrong).returncode == 2
    done = ragstone(folder, "program.md")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "try:" in done.stderr
