"""Model files from a hub that speaks Hugging Face's API, over HTTPS.

HF_ENDPOINT names another hub or a mirror, HF_TOKEN a token for models that need one. The hub lists for each file its
Git object id, and for a large one the SHA-256 of its content (in Git LFS); each download is compared with that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ragstone.embedding.layout import CONFIG, needed, read_json
from ragstone.embedding.model_list import Hub
from ragstone.errors import ModelCorrupt, ModelError

if TYPE_CHECKING:
    from httpx import Client, Response

PUBLIC = "https://huggingface.co"
ATTEMPTS = 5
"""Connections that may break off during one file; each goes on where the last one ended."""

_BLOCK = 2**20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """What the hub says of a file."""

    path: str
    size: int
    blob: str  # Git's object id, a SHA-1
    sha256: str | None  # of a file in Git LFS


def fetch(hub: Hub, target: Path) -> dict[str, str]:
    """Download the model's files into a folder; returns the SHA-256 of each. Raises ModelError."""
    with _client() as client, _translated(hub, client):
        commit = _json(client, f"/api/models/{hub.id}/revision/{quote(hub.revision, safe='')}")["sha"]
        listed = {file.path: file for file in _listed(client, hub.id, commit)}
        address = f"/{hub.id}/resolve/{commit}/"
        if CONFIG in listed:  # which of the others are needed depends on it
            _download(client, address, listed[CONFIG], target)
        config = read_json(target / CONFIG) if CONFIG in listed else {}
        wanted = needed(listed.keys(), config, f"{hub.id} at {hub.revision}")
        for path in wanted[1:]:
            _download(client, address, listed[path], target)
        return {path: _hash(target / path, listed[path]) for path in wanted}


@contextmanager
def _client() -> Iterator[Client]:
    from httpx import Client

    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}  # not sent on to where a redirect leads
    endpoint = os.environ.get("HF_ENDPOINT") or PUBLIC
    with Client(base_url=endpoint, headers=headers, follow_redirects=True, timeout=30.0) as client:
        yield client


@contextmanager
def _translated(hub: Hub, client: Client) -> Iterator[None]:
    """What goes wrong on the way, as ModelError."""
    from httpx import HTTPStatusError, RequestError

    name = f"{hub.id} at {hub.revision} from {client.base_url}"
    try:
        yield
    except HTTPStatusError as error:
        status = error.response.status_code
        hints = {401: "set HF_TOKEN", 403: "HF_TOKEN may not read it", 404: "check the id and embedding.revision"}
        raise ModelError(f"could not fetch {name}: it answered {status}", hint=hints.get(status, "")) from error
    except RequestError as error:
        raise ModelError(
            f"could not fetch {name}: {error or type(error).__name__}", hint="HF_ENDPOINT names another hub"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"could not fetch {name}: it does not answer as a hub does ({error!r})") from error


def _listed(client: Client, model: str, commit: str) -> Iterator[_File]:
    """All files of the commit; a long list comes in pages."""
    address = f"/api/models/{model}/tree/{commit}?recursive=true"
    while address:
        response = client.get(address).raise_for_status()
        for entry in response.json():
            if entry["type"] == "file":
                sha256 = (entry.get("lfs") or {}).get("oid")
                yield _File(path=entry["path"], size=entry["size"], blob=entry["oid"], sha256=sha256)
        address = response.links.get("next", {}).get("url", "")


def _json(client: Client, address: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = client.get(address).raise_for_status().json()
    return value


def _download(client: Client, address: str, file: _File, folder: Path) -> None:
    from httpx import TransportError

    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()
    for left in range(ATTEMPTS - 1, -1, -1):
        have = target.stat().st_size
        if have and have >= file.size:
            return
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
        try:
            with client.stream("GET", address + quote(file.path), headers=headers) as response:
                _save(response.raise_for_status(), target)
                return
        except TransportError:
            if not left:
                raise


def _save(response: Response, target: Path) -> None:
    """Append what a server sends of the rest, or begin anew when it sends the whole."""
    with target.open("ab" if response.status_code == 206 else "wb") as out:
        for block in response.iter_bytes():  # as they come: what is put together first is lost with the connection
            out.write(block)


def _hash(path: Path, file: _File) -> str:
    """Of a file that is what the hub says it is. Raises ModelCorrupt."""
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(_BLOCK):
            sha256.update(block)
            blob.update(block)
    found = sha256.hexdigest()
    if found != file.sha256 if file.sha256 else blob.hexdigest() != file.blob:
        raise ModelCorrupt(f"{file.path} came with other content than the hub lists", hint="pull it again")
    return found
