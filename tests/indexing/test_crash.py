"""kill -9 at random moments of `ragstone index`: the next run ends with the catalog and index of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from ragstone.catalog import embedded

KILLS = 10
SEED = 20


def corpus(folder: Path) -> None:
    rng = random.Random(SEED)
    words = [f"{kind}{part}" for kind in ("pump", "valve", "gear") for part in ("shaft", "seal", "plate", "spring")]
    folder.mkdir()
    for n in range(40):
        paragraphs = [" ".join(rng.choice(words) for _ in range(60)).capitalize() + "." for _ in range(6)]
        (folder / f"part{n:02}.md").write_text(f"# Part {n}\n\n" + "\n\n".join(paragraphs))


def command(data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"RAGSTONE_DATA_DIR": str(data_dir), "RAGSTONE_INDEX_LINGER": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "ragstone", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def catalog_rows(data_dir: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that the catalog holds, but for times."""
    server = embedded.start(data_dir)
    try:
        with psycopg.connect(server.url) as connection:
            return {
                name: connection.execute(query).fetchall()
                for name, query in {
                    "versions": "SELECT d.uri, v.id, v.number, v.revision, v.content_hash, v.text, v.ended_at IS NULL"
                    " FROM ragstone.versions v JOIN ragstone.documents d ON d.id = v.document ORDER BY 1, 3",
                    "chunks": "SELECT id, version, ordinal, start_offset, end_offset, text, prefix, text_hash"
                    " FROM ragstone.chunks ORDER BY 1",
                    "sections": "SELECT version, ordinal, path FROM ragstone.sections ORDER BY 1, 2",
                    "vectors": "SELECT fingerprint, text_hash, vector FROM ragstone.vectors ORDER BY 1, 2",
                    "documents": "SELECT id, uri, deleted_at IS NULL FROM ragstone.documents ORDER BY 1",
                }.items()
            }
    finally:
        server.stop()


def index_hits(data_dir: Path) -> list[tuple[str, float, float]]:
    out = finish(command(data_dir, "explain", "--json", "pumpshaft and valveseal of the gearspring"))
    rows = json.loads(out)["candidates"]
    return sorted((row["chunk_id"], round(row["cosine"], 3), round(row["bm25"], 3)) for row in rows)


@pytest.mark.timeout(600)
def test_ten_kills_leave_no_trace(tmp_path: Path) -> None:
    folder, calm, stormy = tmp_path / "docs", tmp_path / "calm", tmp_path / "stormy"
    corpus(folder)
    start = time.monotonic()
    finish(command(calm, "index", "--json", str(folder)))
    whole = time.monotonic() - start
    rng = random.Random(SEED)
    killed = 0
    for _ in range(KILLS):
        process = command(stormy, "index", "--json", str(folder))
        try:
            process.communicate(timeout=rng.uniform(0.2, 1.0) * whole)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
    assert killed > 0
    finish(command(stormy, "index", "--json", str(folder)))
    assert catalog_rows(stormy) == catalog_rows(calm)
    assert index_hits(stormy) == index_hits(calm)
