"""The default model, pulled as a user would pull it: into the cache folder, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedding.endpoint import Endpoint, serving
from ragstone.embedding.files import cache_folder, pull
from ragstone.embedding.local import LocalEmbedder
from ragstone.embedding.model_list import LocalModel, local_model


@pytest.fixture(scope="session")
def model() -> LocalModel:
    listed = local_model("all-MiniLM-L6-v2")
    assert listed is not None
    return listed


@pytest.fixture(scope="session")
def folder(model: LocalModel) -> Path:
    return pull(model.files_from, cache_folder(None))


@pytest.fixture(scope="session")
def local(folder: Path, model: LocalModel) -> LocalEmbedder:
    return LocalEmbedder.open(model.name, folder.parent, threads=2)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as endpoint:
        yield endpoint
