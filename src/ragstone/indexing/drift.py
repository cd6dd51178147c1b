"""Whether a generation's model still makes the vectors that it made: the stored probes tell."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ragstone.catalog.catalog import Catalog
from ragstone.embedding import fingerprint
from ragstone.embedding.base import Embedder
from ragstone.errors import FingerprintMismatch
from ragstone.models import Generation

logger = logging.getLogger(__name__)


async def check(catalog: Catalog, generation: Generation, embedders: Callable[[Generation], Embedder]) -> str | None:
    """Embed the probe texts again. On a deviation nothing is written to the generation until a check finds none.

    Gives what deviates, None when nothing does; the catalog remembers it. Raises ProviderError or ModelError when the
    model cannot be asked: that is no deviation.
    """
    try:
        embedder = embedders(generation)
        fingerprint.compare(generation.fingerprint, embedder.fingerprint)
        await fingerprint.check(await catalog.probes(generation.fingerprint), embedder)
        deviation = None
    except FingerprintMismatch as error:
        deviation = f"{error}; {error.hint}"
    if deviation is not None:
        logger.error("generation %s is in quarantine, nothing is written to it: %s", generation.id, deviation)
    elif generation.quarantine is not None:
        logger.warning("generation %s is out of quarantine", generation.id)
    await catalog.record_check(generation, deviation)
    return deviation
