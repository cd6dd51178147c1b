"""Audits on a schedule: a worker tells of an index that has gone astray, and leaves it to an operator to mend it."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ragstone.catalog.catalog import Catalog
from ragstone.errors import RagstoneError
from ragstone.index.audit import Auditor
from ragstone.index.base import Index
from ragstone.settings import Settings

LOOK = 600.0
"""The most seconds between two looks at when the last audit was: it may have been made by hand."""

AGAIN = 300.0
"""Seconds until the next try when an audit failed."""

logger = logging.getLogger(__name__)


def index_name(settings: Settings) -> str:
    """What audits of the index that settings name are remembered under; a catalog may have an index on each machine."""
    if settings.index.engine == "edge":
        return f"edge {platform.node()}:{settings.data_dir.resolve()}"
    return settings.index.url


async def keep_auditing(catalog: Catalog, index: Index, name: str, every: timedelta) -> None:
    """Audit an index whenever its last audit is so long ago, until cancelled. One process does it for all."""
    while True:
        try:
            async with catalog.only(f"audits {name}") as still_alone:
                while True:
                    await still_alone()
                    if (due := await _due(catalog, name, every)) > 0:
                        await asyncio.sleep(min(due, LOOK))
                    else:
                        await _audit(catalog, index, name)
        except RagstoneError as error:
            logger.warning("the index was not audited: %s", error)
        except Exception:  # whatever it was, documents are indexed on
            logger.exception("the index was not audited")
        await asyncio.sleep(AGAIN)


async def _due(catalog: Catalog, name: str, every: timedelta) -> float:
    """The seconds until the next audit."""
    last = await catalog.auditing.last(name)
    return 0.0 if last is None else (last.at + every - datetime.now(UTC)).total_seconds()


async def _audit(catalog: Catalog, index: Index, name: str) -> None:
    audit = await Auditor(catalog, index, name).audit()
    if audit.clean:
        logger.info("the index holds what the catalog does; the audit took %.0f s", audit.seconds)
    else:
        logger.warning(
            "the index is not what the catalog says (%s): `ragstone fsck` tells where, and mends it with --repair",
            in_words(audit.found),
        )


def in_words(found: Mapping[str, int]) -> str:
    """How many points are wrong, by how, in one line."""
    return ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in found.items() if count)
