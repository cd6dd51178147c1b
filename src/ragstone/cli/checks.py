"""What `doctor` looks at: each check finds out one thing and says what to do when it is wrong."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ragstone.errors import RagstoneError
from ragstone.settings import Settings

FREE_BYTES = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    found: str
    hint: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order in which things depend on each other."""
    checks: list[tuple[str, Callable[[Settings], Awaitable[str]]]] = [
        ("machine", _machine),
        ("data folder", _data_folder),
        ("embedding model", _model),
        ("catalog and index", _engines),
    ]
    if settings.parsing.ocr:
        checks.insert(2, ("scans", _scans))
    return [await _finding(what, check, settings) for what, check in checks]


async def _finding(what: str, check: Callable[[Settings], Awaitable[str]], settings: Settings) -> Finding:
    try:
        return Finding(what=what, ok=True, found=await check(settings))
    except RagstoneError as error:
        return Finding(what=what, ok=False, found=str(error), hint=error.hint)


async def _machine(settings: Settings) -> str:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise RagstoneError(f"Python {platform.python_version()} is not tested", hint="use Python 3.11 to 3.13")
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


async def _data_folder(settings: Settings) -> str:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RagstoneError(
            f"cannot make {settings.data_dir}: {error.strerror}", hint="set data_dir to a folder you may write"
        ) from None
    if not os.access(settings.data_dir, os.W_OK):
        raise RagstoneError(f"{settings.data_dir} is not writable", hint="set data_dir to a folder you may write")
    free = shutil.disk_usage(settings.data_dir).free
    if free < FREE_BYTES:
        raise RagstoneError(f"only {free / 2**20:.0f} MB free at {settings.data_dir}", hint="free 1 GB or more")
    return f"{settings.data_dir}, {free / 2**30:.0f} GB free"


async def _scans(settings: Settings) -> str:
    from ragstone.parsing.ocr import INSTALL_LANGUAGES, installed_languages

    installed = await asyncio.to_thread(installed_languages)
    missing = set(settings.parsing.ocr_languages.split("+")) - installed
    if missing:
        raise RagstoneError(f"tesseract cannot read {', '.join(sorted(missing))}", hint=INSTALL_LANGUAGES)
    return f"tesseract reads {settings.parsing.ocr_languages}"


async def _model(settings: Settings) -> str:
    from ragstone.parts import make_embedder

    embedder = make_embedder(settings.embedding, settings.cache_dir)
    try:
        vectors = await embedder.embed(["does it work?"], "query")
    finally:
        await embedder.aclose()
    return f"{settings.embedding.model} ({settings.embedding.provider}), {vectors.shape[1]} dimensions"


async def _engines(settings: Settings) -> str:
    from ragstone.app import open_ragstone

    async with open_ragstone(settings) as ragstone:
        status = await ragstone.status()
        if status.generation:
            await ragstone.serving()  # compares the stored fingerprint with the model at hand
    return f"{status.documents} documents, {status.chunks} chunks, index {status.lag} behind"
