"""Commands as people and scripts run them: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ragstone import settings

KETTLE = "The kettle on the second floor is descaled every Thursday by the facilities team."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three documents, indexed."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "docs").mkdir()
    (folder / "docs" / "tea.md").write_text(f"# Tea\n\n{KETTLE}\n")
    (folder / "docs" / "leave.md").write_text("# Leave\n\nEveryone has thirty-one days of paid leave in a year.\n")
    (folder / "docs" / "empty.txt").write_text("")
    done = ragstone(folder, "index", "--json", "docs")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["sources"]["docs"]
    assert report["published"] == 2
    return folder


def ragstone(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("RAGSTONE_")}
    variables |= {"RAGSTONE_INDEX_LINGER": "5", "COLUMNS": "150", **environment}
    command = [sys.executable, "-m", "ragstone", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)


def printed(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_ask_streams_a_cited_answer(home: Path) -> None:
    done = ragstone(home, "ask", "--timings", "When is the kettle on the second floor descaled?")
    assert done.returncode == 0, done.stderr
    assert KETTLE in done.stdout
    assert "[1] Tea — docs/tea.md" in done.stdout
    assert all(step in done.stdout for step in ("embed", "search", "generate"))


def test_ask_exits_with_3_when_the_documents_do_not_answer(home: Path) -> None:
    done = ragstone(home, "ask", "--json", "Who won the chess olympiad of 1972?")
    assert done.returncode == 3
    assert json.loads(done.stdout)["refused"] is True


def test_search_and_explain_show_scores_and_fates(home: Path) -> None:
    found = printed(ragstone(home, "search", "--json", "--top-k", "1", "kettle descaled"))
    assert [passage["title"] for passage in found["passages"]] == ["Tea"]
    rows = printed(ragstone(home, "explain", "--json", "--top-k", "1", "kettle descaled"))["candidates"]
    fates = {Path(row["document"].split(" #")[0]).name: row["fate"] for row in rows}
    assert fates["tea.md"] == "passage 1"
    assert fates["leave.md"].startswith("threshold: below threshold: cosine")
    assert "leave.md" in ragstone(home, "explain", "--document", "leave", "kettle descaled").stdout


def test_status_tells_what_there_is(home: Path) -> None:
    status = printed(ragstone(home, "status", "--json"))
    assert (status["stats"]["documents"], status["lag"]) == (2, 0)
    assert status["generation"]["fingerprint"]["spec"]["model"] == "all-MiniLM-L6-v2"
    assert "all-MiniLM-L6-v2" in ragstone(home, "status").stdout


def test_skipped_documents_are_listed_and_strict_makes_them_count(home: Path) -> None:
    done = ragstone(home, "index", "docs")
    assert done.returncode == 0
    assert "2 unchanged" in done.stdout
    assert "empty.txt (empty)" in done.stdout
    assert ragstone(home, "index", "--strict", "docs").returncode == 4


def test_doctor_finds_nothing_wrong_here_and_something_wrong_there(home: Path, tmp_path: Path) -> None:
    findings = printed(ragstone(home, "doctor", "--json"))
    assert all(finding["ok"] for finding in findings)
    nowhere = {"RAGSTONE_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}
    done = ragstone(tmp_path, "doctor", "--json", **nowhere)
    assert done.returncode == 1
    [wrong] = [finding for finding in json.loads(done.stdout) if not finding["ok"]]
    assert wrong["what"] == "catalog and index"
    assert wrong["hint"]


def test_the_index_folder_can_be_deleted(home: Path) -> None:
    """It is rebuilt by the next start, from the catalog alone: nothing is embedded for it."""
    import shutil

    printed(ragstone(home, "status", "--json"))
    shutil.rmtree(home / ".ragstone" / "index")
    done = ragstone(home, "ask", "When is the kettle on the second floor descaled?")
    assert done.returncode == 0, done.stderr
    assert KETTLE in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("index", "nowhere"), "nowhere: no such file or folder"),
        (("index",), "nothing to index"),
        (("ask", "anything"), "holds nothing yet"),
        (("--config", "absent.toml", "status"), "cannot read absent.toml"),
        (("serve", "--host", "0.0.0.0"), "refusing to serve on 0.0.0.0"),
        (("eval", "nowhere"), "nowhere"),
    ],
)
def test_a_mistake_ends_in_one_message_and_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    done = ragstone(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    message, *rest = done.stderr.strip().splitlines()
    assert message.startswith("error: ")
    assert expected in message
    assert rest[0].startswith("  try: ")


def test_wrong_usage_is_2(tmp_path: Path) -> None:
    assert ragstone(tmp_path, "ask").returncode == 2
    assert ragstone(tmp_path, "answer").returncode == 2


def test_init_writes_every_setting_and_changes_none(tmp_path: Path) -> None:
    assert ragstone(tmp_path, "init").returncode == 0
    text = (tmp_path / "ragstone.toml").read_text()
    for name in settings.Settings.model_fields:
        assert name in text
    assert tomllib.loads(text) == {table: {} for table in tomllib.loads(text)}
    loaded = settings.load(tmp_path / "ragstone.toml")
    assert loaded.model_dump(exclude={"data_dir"}) == settings.Settings().model_dump(exclude={"data_dir"})
    again = ragstone(tmp_path, "init")
    assert again.returncode == 1
    assert "--force" in again.stderr


def test_every_uncommented_line_of_init_is_a_setting(tmp_path: Path) -> None:
    ragstone(tmp_path, "init")
    lines = (tmp_path / "ragstone.toml").read_text().partition("# Where documents come from")[0].splitlines()
    values = [line.removeprefix("# ") for line in lines if " = " in line and ' = ""' not in line]
    tables = [line if line.startswith("[") else None for line in lines]
    assert len(values) > 30
    text = "\n".join(
        line if table else line.removeprefix("# ") if line.removeprefix("# ") in values else ""
        for line, table in zip(lines, tables, strict=True)
    )
    (tmp_path / "all.toml").write_text(text)
    loaded = settings.load(tmp_path / "all.toml")
    assert loaded.model_dump(exclude={"data_dir"}) == settings.Settings().model_dump(exclude={"data_dir"})


def test_models_commands(tmp_path: Path) -> None:
    names = {row["name"] for row in printed(ragstone(tmp_path, "models", "list", "--json"))}
    assert {"all-MiniLM-L6-v2", "text-embedding-3-small"} <= names
    assert printed(ragstone(tmp_path, "models", "pull", "--json"))["name"] == "all-MiniLM-L6-v2"
    assert printed(ragstone(tmp_path, "models", "verify", "--json")) == {"all-MiniLM-L6-v2": "intact"}


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    commands = ["init", "index", "ask", "search", "explain", "status", "reindex", "eval", "serve", "doctor"]
    for command in [*commands, "models list", "models pull", "models verify"]:
        shown = ragstone(tmp_path, *command.split(), "--help").stdout
        assert f"ragstone {command}" in shown.partition("Usage")[2].partition("\n")[2]
