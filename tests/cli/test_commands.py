"""Commands as people and scripts run them: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
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


def test_questions_are_narrowed_by_where(home: Path) -> None:
    only = ("--where", 'title = "Leave"')
    found = printed(ragstone(home, "search", "--json", *only, "How many days of paid leave?"))
    assert [passage["title"] for passage in found["passages"]] == ["Leave"]
    assert ragstone(home, "ask", *only, "When is the kettle on the second floor descaled?").returncode == 3
    rows = printed(ragstone(home, "explain", "--json", "--where", 'title != "Tea"', "kettle descaled"))["candidates"]
    assert {Path(row["document"].split(" #")[0]).name for row in rows} == {"leave.md"}
    typo = ragstone(home, "search", "--where", 'titel = "Leave"', "leave")
    assert typo.returncode == 1
    assert "no document has a field 'titel'" in typo.stderr
    assert "near it are: title" in typo.stderr


def test_status_tells_what_there_is(home: Path) -> None:
    status = printed(ragstone(home, "status", "--json"))
    assert (status["stats"]["documents"], status["lag"]) == (2, 0)
    assert status["generation"]["fingerprint"]["spec"]["model"] == "all-MiniLM-L6-v2"
    assert "all-MiniLM-L6-v2" in ragstone(home, "status").stdout


def test_skipped_documents_are_listed_and_strict_makes_them_count(home: Path) -> None:
    done = ragstone(home, "index", "docs")
    assert done.returncode == 0
    assert "2 unchanged" in done.stdout
    assert "  empty\n    docs/empty.txt: is empty\ntook " in done.stdout
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


def test_serve_without_a_catalog_ends_as_every_command(home: Path) -> None:
    done = ragstone(home, "serve", "--port", "0", RAGSTONE_DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")
    assert done.returncode == 1
    message, *_, hint = done.stderr.strip().splitlines()  # libpq says it in two lines
    assert message.startswith("error: ")
    assert "127.0.0.1" in message
    assert hint.startswith("  try: ")


def test_serve_on_a_port_in_use_names_it(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ragstone(home, "serve", "--port", str(port))
    assert done.returncode == 1
    message, hint = done.stderr.strip().splitlines()
    assert message == f"error: cannot serve on 127.0.0.1, port {port}: Address already in use"
    assert "--port" in hint


def test_serve_without_its_model_says_how_to_get_it(home: Path, tmp_path: Path) -> None:
    done = ragstone(home, "serve", "--port", "0", RAGSTONE_CACHE_DIR=str(tmp_path))
    assert done.returncode == 1
    message, hint = done.stderr.strip().splitlines()
    assert "all-MiniLM-L6-v2" in message
    assert "ragstone models pull" in hint


def test_eval_fetches_its_model(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "title": "Tea", "text": "The kettle."}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "kettle"}\n')
    (tmp_path / "qrels.test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    (tmp_path / "taken").write_text("a file where the folder of models should be")
    done = ragstone(tmp_path, "eval", ".", RAGSTONE_CACHE_DIR=str(tmp_path / "taken"))
    assert done.returncode == 1
    assert "cannot keep the model" in done.stderr


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_serve_says_where_and_answers_until_a_signal_ends_it(home: Path, sent: signal.Signals, code: int) -> None:
    command = [sys.executable, "-m", "ragstone", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=home, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = process.stderr.readline().removeprefix("serving on ").strip()
        assert httpx.get(f"{address}/healthz", timeout=30).json()["status"] == "ok"
        process.send_signal(sent)
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == code


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


FILLED = {
    "cache_dir": '"models"',
    "database.url": '"postgresql://somebody@localhost/ragstone"',
    "embedding.base_url": '"http://localhost:8000/v1"',
    "embedding.api_key": '"secret"',
    "embedding.dimensions": "384",
    "embedding.max_tokens": "256",
    "embedding.query_prefix": '"query: "',
    "embedding.document_prefix": '"passage: "',
    "embedding.price": "0.02",
    "generation.base_url": '"http://localhost:8001/v1"',
    "generation.api_key": '"secret"',
    "index.api_key": '"secret"',
    "index.ef": "64",
}


def test_every_uncommented_line_of_init_is_a_setting(tmp_path: Path) -> None:
    """What has a default as it stands, what is unset with a value filled in."""
    ragstone(tmp_path, "init")
    text = (tmp_path / "ragstone.toml").read_text().partition("# Where documents come from")[0]
    lines, table, unset = [], "", set()
    for line in text.splitlines():
        if line.startswith("["):
            table = line.strip("[]") + "."
        if setting := re.match(r"# (\w+) = (.*)", line):
            name = table + setting[1]
            unset |= {name} if setting[2].strip().startswith("#") else set()
            line = f"{setting[1]} = {FILLED.get(name, '')}{setting[2]}"
        lines.append(line)
    assert unset == set(FILLED)
    assert len([line for line in lines if " = " in line]) > 40
    (tmp_path / "all.toml").write_text("\n".join(lines))
    loaded = settings.load(tmp_path / "all.toml")
    found, standard = (one.model_dump(exclude={"data_dir"}) for one in (loaded, settings.Settings()))
    for name in FILLED:
        table, _, key = name.rpartition(".")
        assert (found[table] if table else found).pop(key) is not None
        assert (standard[table] if table else standard).pop(key) is None
    assert found == standard


def test_an_unset_line_of_init_must_be_filled_in(tmp_path: Path) -> None:
    ragstone(tmp_path, "init")
    file = tmp_path / "ragstone.toml"
    file.write_text(file.read_text().replace("# dimensions =", "dimensions ="))
    done = ragstone(tmp_path, "status")
    assert done.returncode == 1
    assert "not valid TOML" in done.stderr


def test_models_commands(tmp_path: Path) -> None:
    names = {row["name"] for row in printed(ragstone(tmp_path, "models", "list", "--json"))}
    assert {"all-MiniLM-L6-v2", "text-embedding-3-small"} <= names
    assert printed(ragstone(tmp_path, "models", "pull", "--json"))["name"] == "all-MiniLM-L6-v2"
    assert printed(ragstone(tmp_path, "models", "verify", "--json"))["all-MiniLM-L6-v2"] == "intact"


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    commands = ["init", "index", "ask", "search", "explain", "status", "reindex", "eval", "serve", "doctor"]
    for command in [*commands, "models list", "models pull", "models verify"]:
        shown = ragstone(tmp_path, *command.split(), "--help").stdout
        assert f"ragstone {command}" in shown.partition("Usage")[2].partition("\n")[2]
