from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ragstone.errors import SettingsError
from ragstone.openai_endpoint import OPENAI, OpenAIEndpoint, Table, retry_after

TABLES: list[Table] = ["embedding", "generation"]


def endpoint(table: Table = "embedding", base_url: str | None = None, api_key: str | None = None) -> OpenAIEndpoint:
    return OpenAIEndpoint(table, model="m", base_url=base_url, api_key=api_key, timeout=1, retries=0)


@pytest.mark.parametrize("table", TABLES)
def test_openai_itself_needs_a_key(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SettingsError, match="no API key") as error:
        endpoint(table)
    assert f"set OPENAI_API_KEY or {table}.api_key" in error.value.hint
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    assert endpoint(table).name == "m at api.openai.com"


@pytest.mark.parametrize(
    ("base_url", "api_key", "sent"),
    [
        (None, None, "sk-environment"),
        ("", None, "sk-environment"),
        (None, "sk-configured", "sk-configured"),
        ("http://other/v1", None, "none"),
        ("http://other/v1", "sk-configured", "sk-configured"),
    ],
)
async def test_the_key_of_the_environment_goes_to_openai_alone(
    base_url: str | None, api_key: str | None, sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    made = endpoint(base_url=base_url, api_key=api_key)
    assert made.client.auth_headers == {"Authorization": f"Bearer {sent}"}
    assert str(made.client.base_url) == f"{base_url or OPENAI}/"
    await made.aclose()


def test_the_name_shows_the_port_and_no_password() -> None:
    assert endpoint(base_url="http://me:secret@localhost:8000/v1").name == "m at localhost:8000"
    assert endpoint(base_url="localhost").name == "m at localhost"


@pytest.mark.parametrize("package", ["openai", "bpe_openai"])
def test_without_a_package_the_command_to_install_it_is_told(package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from ragstone.openai_endpoint import OpenAIEndpoint\n"
        "try: OpenAIEndpoint('generation', model='m', base_url='http://x/v1', api_key=None, timeout=1, retries=0)\n"
        "except Exception as error: print(type(error).__name__, '|', error.hint)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "SettingsError | pip install 'ragstone[openai]'\n"


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("0.5", 0.5, 0.5),
        ("9" * 400, 86_400, 86_400),
        (format_datetime(datetime.now(UTC) + timedelta(hours=4), usegmt=True), 3600, 4 * 3600),
        (format_datetime(datetime.now(UTC) - timedelta(minutes=2), usegmt=True), 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400, 86_400),
    ],
)
def test_a_waiting_time_is_a_number_or_a_date_and_at_most_a_day(value: str, least: float, most: float) -> None:
    wait = retry_after({"retry-after": value})
    assert wait is not None
    assert least <= wait <= most


@pytest.mark.parametrize("value", ["", "soon", "nan", "inf", "-1", "1e9"])
def test_what_is_no_waiting_time_is_passed_over(value: str) -> None:
    assert retry_after({"retry-after": value}) is None
