from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from ragstone.embedding.choosing import origin_of
from ragstone.embedding.model_list import (
    Hub,
    LocalModel,
    Package,
    local_model,
    local_models,
    ranges_of,
    remote_model,
    remote_models,
)
from ragstone.errors import SettingsError


@pytest.mark.parametrize("listed", local_models(), ids=lambda listed: listed.name)
def test_a_local_entry_is_complete(listed: LocalModel) -> None:
    assert local_model(listed.name.upper()) == listed
    assert listed.dimensions > 0
    assert listed.max_tokens > 0
    assert listed.licence
    pins = listed.files_from.files if isinstance(listed.files_from, Package | Hub) else {}
    assert any(path.endswith((".safetensors", ".onnx")) for path in pins)
    assert all(len(bytes.fromhex(pin)) == 32 for pin in pins.values())


@pytest.mark.parametrize("listed", local_models(), ids=lambda listed: listed.name)
def test_a_model_of_a_hub_is_pinned_to_a_commit(listed: LocalModel) -> None:
    if isinstance(listed.files_from, Hub):
        assert len(bytes.fromhex(listed.files_from.revision)) == 20


def test_the_entry_says_what_the_files_say(model: LocalModel, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert model.dimensions == config["hidden_size"]
    assert model.max_tokens <= config["max_position_embeddings"]
    with np.load(io.BytesIO(ranges_of(model))) as ranges:
        widths = [ranges[name].shape[0] for name in ranges.files]
    width, inner = config["hidden_size"], config["intermediate_size"]
    assert widths == [width, width, width, inner] * config["num_hidden_layers"]


def test_remote_entries_are_found_by_name() -> None:
    assert [remote_model(listed.name) for listed in remote_models()] == list(remote_models())
    assert remote_model("none such") is None


def test_names_are_unique() -> None:
    names = [model.name.lower() for model in local_models()] + [model.name.lower() for model in remote_models()]
    assert len(set(names)) == len(names)


def test_an_unknown_local_name_is_refused() -> None:
    assert local_model("none such") is None
    with pytest.raises(SettingsError, match="none such"):
        origin_of("none such")
