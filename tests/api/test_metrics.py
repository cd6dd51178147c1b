"""What the service tells Prometheus, and the alert rules over it."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from ragstone.api.service import create_service
from ragstone.app import open_ragstone
from ragstone.cli.main import app
from ragstone.indexing.metrics import Metrics
from ragstone.settings import IndexSettings, Settings

ALERTS = Path(__file__).parents[2] / "docs" / "alerts.yaml"


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    index = IndexSettings(url="exact", recall_sample=1)
    return Settings(data_dir=tmp_path, database={"url": database_url}, index=index)


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    made = create_service(settings)
    async with (
        made.router.lifespan_context(made),
        httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://service") as client,
    ):
        yield client


async def scraped(client: httpx.AsyncClient) -> dict[str, float]:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(response.text)
    return {sample.name: sample.value for family in families for sample in family.samples}


async def test_recall_of_what_was_searched_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "tea.md").write_text("# Tea\n\nThe kettle is descaled every Thursday.\n")
    async with open_ragstone(settings) as ragstone:
        await ragstone.upkeep.sync(ragstone.upkeep.source(str(tmp_path / "docs")), lambda report: None)
    async with service(settings) as client:
        before = await scraped(client)
        assert "ragstone_recall" not in before
        assert before["ragstone_recall_checks_total"] == 0
        while "ragstone_recall" not in (told := await scraped(client)):
            assert (await client.post("/v1/search", json={"question": "When is the kettle descaled?"})).is_success
        assert told["ragstone_recall"] == 1
        assert told["ragstone_recall_checks_total"] >= 1
        assert told["ragstone_index_lag"] == 0


async def test_metrics_are_told_also_when_the_catalog_is_away(settings: Settings) -> None:
    async with service(settings) as client:
        assert (await scraped(client))["ragstone_index_lag"] == 0
        url = settings.database.url
        assert url is not None
        name = psycopg.conninfo.conninfo_to_dict(url.get_secret_value())["dbname"]
        async with await psycopg.AsyncConnection.connect(
            psycopg.conninfo.make_conninfo(url.get_secret_value(), dbname="postgres"), autocommit=True
        ) as connection:
            await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            assert math.isnan((await scraped(client))["ragstone_index_lag"])
            await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


# --- the alert rules ------------------------------------------------------------------------------------------------


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


async def test_alerts_are_over_metrics_that_there_are(settings: Settings) -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    known = {"ragstone_recall"} | {metric.name for metric in registry.collect()}
    async with service(settings) as client:
        known |= (await scraped(client)).keys()
    wanted = [re.findall(r"ragstone_\w+", rule["expr"]) for rule in rules()]
    assert all(wanted)
    assert {name for names in wanted for name in names} <= known


def test_every_alert_says_what_it_means_and_which_command_helps() -> None:
    commands: Any = typer.main.get_command(app)
    for rule in rules():
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        helps = re.findall(r"`ragstone ([a-z ]+)[^`]*`", rule["annotations"]["description"])
        assert helps
        for words in helps:
            first, *rest = words.split()
            command = commands.commands[first]
            assert not rest or rest[0] in command.commands, words
