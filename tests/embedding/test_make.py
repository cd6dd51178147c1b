"""From settings to an embedder, and from settings that were stored to the same one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from embedding import tiny
from ragstone.parts import make_embedder
from ragstone.settings import EmbeddingSettings, load


@pytest.mark.parametrize(
    "chosen",
    [
        EmbeddingSettings(),
        EmbeddingSettings(precision="fp32", query_prefix="query: "),
        EmbeddingSettings(provider="openai", model="text-embedding-3-large", dimensions=256, price=0.1),
        EmbeddingSettings(provider="openai", model="m", dimensions=8, max_tokens=99, base_url="http://127.0.0.1:9/v1"),
    ],
)
async def test_stored_settings_and_the_key_make_the_same_embedder(chosen: EmbeddingSettings) -> None:
    key = SecretStr("k") if chosen.provider == "openai" else None
    stored = chosen.model_dump(mode="json", exclude={"api_key"})
    embedders = [
        make_embedder(each, None)
        for each in (chosen.model_copy(update={"api_key": key}), EmbeddingSettings(**stored, api_key=key))
    ]
    assert embedders[0].fingerprint == embedders[1].fingerprint
    assert embedders[0].price == embedders[1].price
    for embedder in embedders:
        await embedder.aclose()


async def test_a_model_folder_is_meant_from_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.write_bert(tmp_path / "project/my-model")
    file = tmp_path / "project/ragstone.toml"
    file.write_text('cache_dir = "cache"\n[embedding]\nmodel = "./my-model"\n')
    monkeypatch.chdir(tmp_path)
    settings = load(file)
    embedder = make_embedder(settings.embedding, settings.cache_dir)
    assert (await embedder.embed(["river"], "query")).shape == (1, tiny.WIDTH)
    await embedder.aclose()
