"""Pulling from a hub on loopback: the API that Hugging Face documents, over real HTTP, with a tiny model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import numpy as np
import pytest

from embedding import tiny
from embedding.reference import Bert
from ragstone.embedding.choosing import origin_of
from ragstone.embedding.encoder import load_tokenizer
from ragstone.embedding.files import folder_of, locate, pins_of, pull, verify
from ragstone.embedding.local import LocalEmbedder
from ragstone.embedding.model_list import Hub
from ragstone.errors import ModelCorrupt, ModelError, ModelMissing, SettingsError

COMMIT = "c0ffee" + "0" * 34
NAME = "acme/tiny-bert"
MODEL = Hub(model=NAME, id=NAME, revision="main")
LARGE = "model.safetensors"


@dataclass
class Site:
    """A hub and, on another port, the store that it redirects to for large files."""

    files: dict[str, bytes]
    hub: str = ""
    store: str = ""
    token: str | None = None  # which callers must have
    sent: dict[str, bytes] = field(default_factory=dict)  # other content than is listed
    break_after: int = 0  # bytes of a large file after which a connection ends
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def tree(self) -> list[dict[str, object]]:
        entries: list[dict[str, object]] = [{"type": "directory", "path": "1_Pooling", "oid": "0" * 40, "size": 0}]
        for path, data in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": blob}
            if path == LARGE:
                entry |= {"oid": "f" * 40, "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}}
            entries.append(entry)
        return entries


class Handler(BaseHTTPRequestHandler):
    site: ClassVar[Site]

    def do_GET(self) -> None:
        authorisation, ranged = self.headers["Authorization"], self.headers["Range"]
        self.site.requests.append((self.path, authorisation, ranged))
        if self.path.startswith("/store/"):
            self.send_large(self.path.removeprefix("/store/"), ranged)
        elif self.site.token and authorisation != f"Bearer {self.site.token}":
            self.answer(401, b"{}")
        elif self.path == f"/api/models/{NAME}/revision/main":
            self.answer(200, json.dumps({"sha": COMMIT}).encode())
        elif self.path == f"/api/models/{NAME}/tree/{COMMIT}?recursive=true":
            link = f'<{self.site.hub}/api/models/{NAME}/tree/{COMMIT}?recursive=true&cursor=2>; rel="next"'
            self.answer(200, json.dumps(self.site.tree()[:3]).encode(), {"Link": link})
        elif self.path.endswith("cursor=2"):
            self.answer(200, json.dumps(self.site.tree()[3:]).encode())
        else:
            self.resolve(self.path.removeprefix(f"/{NAME}/resolve/{COMMIT}/"))

    def resolve(self, path: str) -> None:
        if path == LARGE:
            self.answer(302, b"", {"Location": f"{self.site.store}/store/{path}"})
        elif path in self.site.files:
            self.answer(200, self.site.sent.get(path, self.site.files[path]))
        else:
            self.answer(404, b"{}")

    def send_large(self, path: str, ranged: str | None) -> None:
        data = self.site.sent.get(path, self.site.files[path])
        start = int(ranged.removeprefix("bytes=").rstrip("-")) if ranged else 0
        rest = data[start:]
        self.send_response(206 if ranged else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.site.break_after] if self.site.break_after else rest)
        self.close_connection = True

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    written = tiny.write_bert(tmp_path / "written")
    files = {str(path.relative_to(written)): path.read_bytes() for path in written.rglob("*") if path.is_file()}
    site = Site(files=files)
    handler = type("SiteHandler", (Handler,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as hub, ThreadingHTTPServer(("127.0.0.1", 0), handler) as store:
        site.hub, site.store = (f"http://127.0.0.1:{server.server_port}" for server in (hub, store))
        for server in (hub, store):
            Thread(target=server.serve_forever, args=(0.05,)).start()
        monkeypatch.setenv("HF_ENDPOINT", site.hub)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield site
        hub.shutdown()
        store.shutdown()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


async def test_a_pulled_model_gives_its_vectors(site: Site, cache: Path) -> None:
    folder = pull(MODEL, cache)
    embedder = LocalEmbedder.open(NAME, cache, revision="main", threads=1)
    found = await embedder.embed(["how deep is the river"], "live")
    expected = Bert(folder).embed(load_tokenizer(folder).encode("how deep is the river").ids)["cls"]
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    assert embedder.fingerprint.spec["files"][LARGE] == hashlib.sha256(site.files[LARGE]).hexdigest()
    await embedder.aclose()


def test_the_files_that_are_needed_come_once_from_the_commit(site: Site, cache: Path) -> None:
    folder = pull(MODEL, cache)
    before = len(site.requests)
    assert pull(MODEL, cache) == locate(MODEL, cache) == verify(MODEL, cache) == folder
    assert len(site.requests) == before
    assert pins_of(MODEL, cache).keys() == site.files.keys() - {"README.md"}
    assert {path: (folder / path).read_bytes() for path in pins_of(MODEL, cache)} == {
        path: data for path, data in site.files.items() if path != "README.md"
    }
    assert not any("main" in path for path, *_ in site.requests[1:])


def test_a_token_goes_to_the_hub_and_not_to_its_store(site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.token = "hf_secret"
    with pytest.raises(ModelError, match="401") as refused:
        pull(MODEL, cache)
    assert "HF_TOKEN" in refused.value.hint
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pull(MODEL, cache)
    stored = [authorisation for path, authorisation, _ in site.requests if path.startswith("/store/")]
    assert stored == [None]


def test_a_connection_that_breaks_off_goes_on_where_it_ended(site: Site, cache: Path) -> None:
    site.break_after = len(site.files[LARGE]) // 3 + 1
    folder = pull(MODEL, cache)
    assert (folder / LARGE).read_bytes() == site.files[LARGE]
    ranges = [ranged for path, _, ranged in site.requests if path.startswith("/store/")]
    assert ranges == [None, f"bytes={site.break_after}-", f"bytes={2 * site.break_after}-"]


def test_a_connection_that_always_breaks_off_is_told_and_leaves_nothing(site: Site, cache: Path) -> None:
    site.break_after = 1
    with pytest.raises(ModelError, match="could not fetch acme/tiny-bert at main"):
        pull(MODEL, cache)
    assert [path.name for path in cache.iterdir()] == [".lock"]


@pytest.mark.parametrize("path", [LARGE, "tokenizer.json"])
def test_other_content_than_the_hub_lists_is_refused(site: Site, cache: Path, path: str) -> None:
    site.sent[path] = bytes(reversed(site.files[path]))
    with pytest.raises(ModelCorrupt, match=path):
        pull(MODEL, cache)
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_weights_that_are_not_the_pinned_ones_are_refused(site: Site, cache: Path) -> None:
    pinned = Hub(model=NAME, id=NAME, revision="main", files={LARGE: "0" * 64})
    with pytest.raises(ModelCorrupt, match=r"has changed: model\.safetensors"):
        pull(pinned, cache)
    right = Hub(model=NAME, id=NAME, revision="main", files={LARGE: hashlib.sha256(site.files[LARGE]).hexdigest()})
    pull(right, cache)


def test_what_was_pulled_first_is_taken_from_then_on(site: Site, cache: Path, tmp_path: Path) -> None:
    folder = pull(MODEL, cache)
    first = dict(pins_of(MODEL, cache))
    (folder / LARGE).write_bytes(b"damaged")
    for look in (locate, verify):
        with pytest.raises(ModelCorrupt, match=r"model\.safetensors"):
            look(MODEL, cache)
    original = site.files[LARGE]
    site.files[LARGE] = (tiny.write_bert(tmp_path / "other", seed=2) / LARGE).read_bytes()
    with pytest.raises(ModelCorrupt) as moved:
        pull(MODEL, cache)
    assert str(folder) in moved.value.hint
    site.files[LARGE] = original
    pull(MODEL, cache)
    assert pins_of(MODEL, cache) == first


def test_what_the_hub_lacks_is_told(site: Site, cache: Path) -> None:
    with pytest.raises(ModelError, match="404") as absent:
        pull(Hub(model=NAME, id=NAME, revision="v9"), cache)
    assert "embedding.revision" in absent.value.hint
    del site.files[LARGE]
    with pytest.raises(ModelError, match="no weights"):
        pull(MODEL, cache)


def test_a_hub_that_is_not_there_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="could not fetch") as away:
        pull(MODEL, cache)
    assert "HF_ENDPOINT" in away.value.hint


def test_before_it_is_pulled_it_is_missing(cache: Path) -> None:
    with pytest.raises(ModelMissing) as missing:
        LocalEmbedder.open(NAME, cache, revision="main")
    assert missing.value.hint == f"ragstone models pull {NAME}"


def test_a_name_of_a_hub_needs_a_revision() -> None:
    with pytest.raises(SettingsError) as error:
        origin_of(NAME)
    assert "embedding.revision" in error.value.hint
    listed, other = origin_of("bge-small-en-v1.5"), origin_of("bge-small-en-v1.5", "main")
    assert isinstance(listed, Hub)
    assert isinstance(other, Hub)
    assert listed.files
    assert not other.files
    assert folder_of(listed, Path()) != folder_of(other, Path())
    with pytest.raises(SettingsError):
        origin_of("all-MiniLM-L6-v2", "main")
