"""What a wrong ragstone.toml is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.errors import SettingsError
from ragstone.settings import load


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('path = "docs"', "sources.x: kind is missing: it is one of folder, web, object-store, sql"),
        ('kind = "foldr"', "sources.x: no such kind: it is one of folder, web, object-store, sql"),
        ('kind = "web"', "sources.x.web: needs urls or sitemaps"),
        ('kind = "web"\nurls = ["ftp://a.test"]', "'ftp://a.test' is no http(s) address without a user name"),
        ('kind = "web"\nurls = ["http://me:pw@a.test"]', "is no http(s) address without a user name"),
        ('kind = "web"\nurls = ["http://a.test"]\nsitemaps = ["https://a.test/s.xml"]', "lists http and https"),
        ('kind = "object-store"', "sources.x.object-store.url: Field required"),
    ],
)
def test_a_source_that_is_described_wrongly(tmp_path: Path, source: str, message: str) -> None:
    file = tmp_path / "ragstone.toml"
    file.write_text(f"[sources.x]\n{source}\n")
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert message in str(caught.value)


@pytest.mark.parametrize("table", ["embedding", "generation"])
def test_an_address_holds_no_secret(tmp_path: Path, table: str) -> None:
    """It would be shown, and stored with the generation that is made by it."""
    file = tmp_path / "ragstone.toml"
    file.write_text(f'[{table}]\nbase_url = "https://user:hunter2@models.example/v1"\n')
    with pytest.raises(SettingsError, match=f"{table}.base_url: an address without user name") as raised:
        load(file)
    assert "hunter2" not in str(raised.value)
