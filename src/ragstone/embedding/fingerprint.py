"""The fingerprint of an embedder: all that shaped its vectors, and what it made of a few fixed texts.

The digest tells settings apart; the probes catch what no setting shows, such as other weights under the same name
at an endpoint. Vectors are only compared with vectors of the same fingerprint.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

from ragstone.embedding.base import Embedder
from ragstone.errors import FingerprintMismatch
from ragstone.models import Fingerprint, Metadata, Vectors

PROBES = (
    "The quarterly report is due on the last Friday of March.",
    "How do I reset my password?",
    "ragstone",
    "def add(left: int, right: int) -> int:\n    return left + right",
    "Water boils at 100 °C at sea level, and at about 90 °C at 3,000 m.",
    "Der Vertrag kann mit einer Frist von drei Monaten gekündigt werden.",
    "| item | price |\n| --- | --- |\n| lamp | 39.90 |",
    "A long sentence, with clauses that follow one another, keeps a reader waiting for its verb, which comes at last.",
)
"""Short texts of different kinds. Changing one makes every stored probe worthless."""

SAME = 0.999
"""Cosine from which two vectors of a probe are the same but for rounding on another machine."""


def make(spec: Metadata, dimensions: int) -> Fingerprint:
    """The fingerprint of a spec: JSON-compatible values, compared as a whole."""
    canonical = json.dumps(spec, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return Fingerprint(digest=hashlib.sha256(canonical.encode()).hexdigest(), dimensions=dimensions, spec=spec)


def compare(stored: Fingerprint, current: Fingerprint) -> None:
    """Raises FingerprintMismatch, naming what differs, unless both stand for the same vectors."""
    if stored.digest == current.digest:
        return
    names = sorted(stored.spec.keys() | current.spec.keys())
    pairs = [(name, stored.spec.get(name), current.spec.get(name)) for name in names]
    differences = "; ".join(f"{name} was {old!r}, is {new!r}" for name, old, new in pairs if old != new)
    raise FingerprintMismatch(
        f"the vectors were made by another embedder: {differences}",
        hint="go back to the former embedding settings, or `ragstone reindex` builds a generation with the new ones",
    )


async def probe(embedder: Embedder) -> Vectors:
    """The vectors of PROBES, to be stored with a fingerprint: [8, dimensions]."""
    return await embedder.embed(PROBES, "live")


async def check(stored: Vectors, embedder: Embedder) -> None:
    """Raises FingerprintMismatch when the embedder no longer makes of the probes what it once made."""
    present = await probe(embedder)
    if stored.shape != present.shape:
        raise FingerprintMismatch(
            f"the probes' vectors were stored as {stored.shape} numbers and are {present.shape} now",
            hint=_repair(embedder),
        )
    cosines = np.sum(stored * present, axis=1)
    if not np.all(cosines >= SAME):
        worst = int(np.argmin(np.nan_to_num(cosines, nan=-1)))
        raise FingerprintMismatch(
            f"the model has changed under its name: the probe {PROBES[worst]!r} has a cosine of {cosines[worst]:.4f} "
            f"to its stored vector, and {SAME} is the least",
            hint=_repair(embedder),
        )


def _repair(embedder: Embedder) -> str:
    """What brings the model back, or gives it a digest of its own: a new generation of the same one is no help."""
    if embedder.fingerprint.spec.get("provider") == "openai":
        return "go back to the former model, or set embedding.revision to a new value, then `ragstone reindex`"
    return "`ragstone models verify` finds files that are not the pinned ones, `ragstone models pull` fetches them anew"
