"""The documentation holds what the code has."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from ragstone.api.service import create_service
from ragstone.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("examples/*/*.md")]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_settings_page_is_what_make_docs_writes(generate: ModuleType) -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == generate.settings_page()


def test_the_commands_page_is_what_make_docs_writes(generate: ModuleType) -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == generate.commands_page()


def test_every_route_is_documented() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    paths = create_service(Settings()).openapi()["paths"]
    assert paths
    for path, methods in paths.items():
        for method in methods:
            assert f"## {method.upper()} {path}\n" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target and target != "…":
            assert (page.parent / target).exists(), target


def test_every_benchmark_is_described() -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text()
    for script in ROOT.glob("benchmarks/*.py"):
        if "__main__" in script.read_text():
            assert script.name in page
