"""From measurements to the coefficients of `ragstone capacity`: least squares of relative errors, none below zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragstone.index.capacity import Coefficients, EngineCoefficients, Linear

MEASURED = "measured by `make bench-capacity`"
TIMED = f"{MEASURED}, in processor time: as long as it takes where nothing else runs"
WAL = 2**30
CATALOG = f"{MEASURED}, and 1 GiB of write-ahead log, PostgreSQL's default limit"

SIZE = "base", "chunk", "dimension", "token"
TERMS = {
    "memory": SIZE,
    "disk": SIZE,
    "building_memory": SIZE,
    "building_disk": SIZE,
    "write": ("chunk", "dimension", "token"),
    "build": ("chunk", "dimension"),
}
"""What each figure of an engine is made of."""

PGVECTOR_BUILDING = Linear(
    chunk=800,
    dimension=2,
    most=2 * 2**30,
    origin="what a build is allowed: half-precision vectors, 800 bytes a chunk, 2 GiB at most; beyond, it is slower",
)

QDRANT_BYTES = {"none": 4.0, "scalar": 1.0, "binary": 1 / 8}
"""Of a dimension, in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is put in: so many chunks, and of what kind. `catalog` is an engine here; `together` is passages a chunk."""

    engine: str
    chunks: int
    dimensions: int = 384
    together: int = 1
    chunks_per_document: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Bytes and seconds. `tokens` is the mean of a chunk."""

    case: Case
    tokens: float
    memory: float = 0.0
    disk: float = 0.0  # but for the log
    log: float = 0.0  # of what was written last: bounded, and how much of it is there at a moment is chance
    building_memory: float = 0.0
    building_disk: float = 0.0
    write: float = 0.0
    build: float = 0.0

    @property
    def features(self) -> dict[str, float]:
        """What each coefficient is multiplied with."""
        case = self.case
        return {
            "base": 1.0,
            "document": case.chunks / case.chunks_per_document,
            "chunk": case.chunks,
            "dimension": case.chunks * case.dimensions,
            "token": case.chunks * self.tokens,
        }

    def value(self, figure: str) -> float:
        """A build's seconds are for each halving of its chunks."""
        found = float(getattr(self, figure))
        return found / math.log2(self.case.chunks) if figure == "build" else found


def fit(rows: Sequence[Measured], figure: str, terms: Sequence[str], origin: str) -> Linear:
    """The coefficients that come nearest to what was measured. Of those below zero the lowest goes, until none is."""
    wanted = np.array([row.value(figure) for row in rows])
    if not wanted.any():
        return Linear(origin=origin)
    scale = 1 / np.maximum(wanted, 1e-2 * wanted.max())
    left = list(terms)
    while True:
        matrix = np.array([[row.features[term] for term in left] for row in rows]) * scale[:, None]
        size = np.linalg.norm(matrix, axis=0)
        weights = np.linalg.lstsq(matrix / size, wanted * scale, rcond=None)[0]
        if weights.min() >= 0 or len(left) == 1:
            found = [float(f"{number:.4g}") for number in np.maximum(weights, 0) / size]
            return Linear(**dict(zip(left, found, strict=True)), origin=origin)
        del left[int(np.argmin(weights))]


def print_residuals(rows: Sequence[Measured], figure: str, found: Linear) -> None:
    """Each measured value, with what the fit makes of it."""
    for row in rows:
        case, actual = row.case, row.value(figure)
        fitted = sum(getattr(found, term) * amount for term, amount in row.features.items())
        shape = f"{case.chunks:,} x {case.dimensions}, {row.tokens:.0f} tokens, {case.chunks_per_document} a document"
        if actual:
            print(f"  {figure:16} {shape:46} {actual:14,.4g}  fitted {fitted / actual - 1:+7.1%}")


def fit_engine(rows: Sequence[Measured]) -> EngineCoefficients:
    found = {
        figure: fit(rows, figure, terms, TIMED if figure in {"write", "build"} else MEASURED)
        for figure, terms in TERMS.items()
    }
    for figure, linear in found.items():
        print_residuals(rows, figure, linear)
    disk = found["disk"]
    found["disk"] = disk.model_copy(update={"base": disk.base + max(row.log for row in rows)})
    return EngineCoefficients(**found)


def fit_catalog(rows: Sequence[Measured]) -> Linear:
    found = fit(rows, "disk", ("document", "chunk", "dimension", "token"), CATALOG)
    print_residuals(rows, "disk", found)
    return found.model_copy(update={"base": float(WAL)})


def fitted(found: Sequence[Measured], known: Coefficients) -> Coefficients:
    """The known coefficients, with those of what was measured put in. Qdrant's follow from edge's."""
    engines, catalog = dict(known.engines), known.catalog
    for name in dict.fromkeys(row.case.engine for row in found):
        print(f"\n{name}")
        rows = [row for row in found if row.case.engine == name]
        if name == "catalog":
            catalog = fit_catalog(rows)
        else:
            engines[name] = fit_engine(rows)
    engines["pgvector"] = engines["pgvector"].model_copy(update={"building_memory": PGVECTOR_BUILDING})
    clusters = {f"qdrant-{name}": qdrant(engines["edge"], name, kept) for name, kept in QDRANT_BYTES.items()}
    return known.model_copy(update={"engines": engines | clusters, "catalog": catalog})


def qdrant(edge: EngineCoefficients, quantization: str, kept: float) -> EngineCoefficients:
    """A cluster's by formula: the engine is edge's; what is kept of a vector in memory is a matter of choice."""
    in_words = f"{kept:g} bytes" if kept > 1 else "1 byte" if kept == 1 else "1 bit"
    origin = (
        f"links, ids, fields and words as measured with edge, the same engine; {in_words} of a dimension in memory, "
        "all 4 on disk; half as much again while segments are rewritten, as Qdrant's capacity planning says"
    )
    memory = edge.memory.model_copy(update={"dimension": kept, "origin": origin})
    on_disk = 4.0 if quantization == "none" else 4.0 + kept
    disk = edge.disk.model_copy(update={"dimension": on_disk, "origin": origin})
    return EngineCoefficients(
        memory=memory,
        disk=disk,
        building_memory=_half(memory),
        building_disk=_half(disk),
        write=edge.write.model_copy(update={"origin": "as measured with edge; the network comes on top"}),
        build=edge.build.model_copy(update={"origin": "as measured with edge, the same engine"}),
    )


def _half(size: Linear) -> Linear:
    parts = {name: number / 2 for name, number in size.model_dump(exclude={"origin", "most"}).items()}
    return Linear(**parts, origin=size.origin)
