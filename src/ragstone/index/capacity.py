"""What so many chunks will take: memory, disk, time and money, from coefficients that say where they come from.

A size is linear in what it is made of, where links, bytes a number and so on are inside the coefficients:

    base + documents · document + chunks · (chunk + dimensions · dimension + tokens · token)

Graphs are built in chunks · log2(chunks of a shard) · (chunk + dimensions · dimension) seconds: to insert is to search.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragstone.embedding.model_list import (
    LocalModel,
    RemoteModel,
    local_model,
    local_models,
    remote_model,
    remote_models,
)
from ragstone.errors import SettingsError

Engine = Literal["edge", "qdrant", "pgvector", "weaviate"]
Quantization = Literal["none", "scalar", "binary"]

CLUSTERS = frozenset(("qdrant", "weaviate"))
"""Engines that spread over several nodes; the others are on one machine."""

WIDEST = {"pgvector": 4_000}
"""Dimensions that an engine builds graphs of, where that is limited."""

FILLED = 0.8
"""Share of a node's memory that is planned with; the rest is the system's and for growth."""

SHARDS_A_NODE = 2
"""So that nodes can be added without cutting shards anew, as Qdrant's manual advises."""

DEFAULT_MODEL = "all-MiniLM-L6-v2"
"""Its speed is what was measured; other local models are slower by the weights that a token passes through."""


class _Read(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Linear(_Read):
    """Bytes (or seconds) for each thing that there are many of."""

    base: float = 0.0
    document: float = 0.0
    chunk: float = 0.0
    dimension: float = 0.0
    token: float = 0.0
    most: float | None = None  # that is ever taken
    origin: str

    def parts(self, demand: Demand) -> dict[str, float]:
        """What each kind of thing takes, by its coefficient's name."""
        return {
            "base": self.base,
            "document": demand.documents * self.document,
            "chunk": demand.chunks * self.chunk,
            "dimension": demand.chunks * demand.dimensions * self.dimension,
            "token": demand.chunks * demand.tokens * self.token,
        }

    def of(self, demand: Demand) -> float:
        whole = sum(self.parts(demand).values())
        return whole if self.most is None else min(whole, self.most)


class EngineCoefficients(_Read):
    """Of one copy of an index. What building takes comes on top, while it lasts: a shard at a time on each node."""

    memory: Linear
    disk: Linear
    building_memory: Linear
    building_disk: Linear
    write: Linear  # seconds
    build: Linear  # seconds, for each time that a chunk's number of chunks is halved


class EmbeddingCoefficients(_Read):
    """Tokens a second of the default model, by precision, and the weights (millions) in the layers of each model."""

    tokens_per_second: Mapping[Literal["int8", "fp32"], float]
    encoder_weights: Mapping[str, float]
    endpoint_tokens_per_minute: float
    origin: str
    endpoint_origin: str


class Coefficients(_Read):
    """`engines` has qdrant once for each quantization: qdrant-none, qdrant-scalar, qdrant-binary."""

    machine: str
    date: str
    cores: int = Field(ge=1)
    engines: Mapping[str, EngineCoefficients]
    catalog: Linear  # disk
    embedding: EmbeddingCoefficients


WRITER = "`make bench-capacity` writes such a file"


def load_coefficients(path: Path | None = None) -> Coefficients:
    """Those in a file, or those that ship with Ragstone. Raises SettingsError."""
    try:
        text = (path or files("ragstone.index").joinpath("coefficients.json")).read_text(encoding="utf-8")
        return Coefficients.model_validate_json(text)
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}", hint=WRITER) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"these are no coefficients: {path}: {error}", hint=WRITER) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise SettingsError(f"these are no coefficients: {path}: {place}: {first['msg']}", hint=WRITER) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is to be planned. Raises SettingsError when the parts do not go together."""

    engine: Engine
    chunks: int
    dimensions: int
    tokens: int = 200  # of a chunk
    chunks_per_document: float = 5.0
    quantization: Quantization | None = None  # qdrant's; None: scalar
    replicas: int = 1
    memory_per_node: int = 64 * 2**30
    cores: int | None = None  # of each node; None: as many as the coefficients were measured on
    model: str | None = None  # None: the listed one with these dimensions
    price: float | None = None  # of a million tokens; None: the model's
    chunks_per_second: float | None = None  # embedded; None: from the coefficients

    def __post_init__(self) -> None:
        for name in ("chunks", "dimensions", "tokens", "chunks_per_document", "replicas", "memory_per_node"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name.replace('_', ' ')} must be above 0, not {getattr(self, name)}")
        if self.replicas > 1 and self.engine not in CLUSTERS:
            raise SettingsError(
                f"{self.engine} has no replicas: it is on one machine", hint="plan with qdrant or weaviate"
            )
        if self.dimensions > (widest := WIDEST.get(self.engine, self.dimensions)):
            raise SettingsError(f"{self.engine} takes {widest} dimensions at most", hint="plan with another engine")
        if self.quantization and self.engine != "qdrant":
            raise SettingsError(f"the quantization of {self.engine} is not chosen", hint="only qdrant's is")

    @property
    def documents(self) -> float:
        return self.chunks / self.chunks_per_document

    @property
    def key(self) -> str:
        """The engine's name among the coefficients."""
        return f"qdrant-{self.quantization or 'scalar'}" if self.engine == "qdrant" else self.engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """What turning the texts into vectors takes. None: nothing is known to say."""

    model: str | None
    tokens: int
    seconds: float | None
    money: float | None
    price: float | None  # of a million tokens
    pace: str  # what the seconds were taken to be
    origin: str = ""  # of the pace, where it is one of the coefficients


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes and seconds. Of the index, `memory` and `disk` are all copies together, by coefficient."""

    memory: Mapping[str, float]
    disk: Mapping[str, float]
    building_memory: float
    building_disk: float
    catalog: Mapping[str, float]
    nodes: int
    shards: int
    fits: bool  # into the memory of the nodes
    write: float
    build: float
    embedding: Embedding

    @property
    def memory_total(self) -> float:
        return sum(self.memory.values())

    @property
    def disk_total(self) -> float:
        return sum(self.disk.values())

    @property
    def catalog_total(self) -> float:
        return sum(self.catalog.values())


def estimate(demand: Demand, known: Coefficients) -> Estimate:
    """Raises SettingsError for an engine that the coefficients lack, and a model that has not these dimensions."""
    engine = known.engines.get(demand.key)
    if engine is None:
        raise SettingsError(f"no coefficients for {demand.key}", hint=f"there are: {', '.join(sorted(known.engines))}")
    memory = _copies(engine.memory, demand)
    usable = FILLED * demand.memory_per_node
    wanted = math.ceil(sum(memory.values()) / usable)
    nodes = max(demand.replicas, wanted) if demand.engine in CLUSTERS else 1
    shards = 1 if nodes == demand.replicas else SHARDS_A_NODE * nodes
    return Estimate(
        memory=memory,
        disk=_copies(engine.disk, demand),
        building_memory=engine.building_memory.of(demand) * nodes / shards,
        building_disk=engine.building_disk.of(demand) * nodes / shards,
        catalog=known.catalog.parts(demand),
        nodes=nodes,
        shards=shards,
        fits=wanted <= nodes,
        write=engine.write.of(demand),
        build=_build(engine.build, demand, shards) * _share(demand, nodes) * _slower(demand, known),
        embedding=_embedding(demand, known),
    )


def _copies(size: Linear, demand: Demand) -> dict[str, float]:
    return {part: value * demand.replicas for part, value in size.parts(demand).items()}


def _build(seconds: Linear, demand: Demand, shards: int) -> float:
    return seconds.of(demand) * math.log2(max(2.0, demand.chunks / shards))


def _share(demand: Demand, nodes: int) -> float:
    """Every copy builds its own graphs; the nodes do so side by side."""
    return demand.replicas / nodes


def _slower(demand: Demand, known: Coefficients) -> float:
    """Than the machine that was measured, whose cores were all busy."""
    return known.cores / (demand.cores or known.cores)


# --- embedding --------------------------------------------------------------------------------------------------

Model: TypeAlias = LocalModel | RemoteModel


def _embedding(demand: Demand, known: Coefficients) -> Embedding:
    model = _model(demand)
    tokens = demand.chunks * demand.tokens
    price = demand.price
    if price is None and model is not None:
        price = model.price if isinstance(model, RemoteModel) else 0.0
    seconds, pace, origin = _seconds(demand, known, model)
    return Embedding(
        model=model.name if model else demand.model,
        tokens=tokens,
        seconds=seconds,
        money=None if price is None else price * tokens / 1e6,
        price=price,
        pace=pace,
        origin=origin,
    )


def _model(demand: Demand) -> Model | None:
    """The listed model that is named, or has the dimensions. A remote one can give shorter vectors than it has."""
    if demand.model is None:
        listed: tuple[Model, ...] = (*local_models(), *remote_models()) if demand.price is None else ()
        return next((model for model in listed if model.dimensions == demand.dimensions), None)
    model = local_model(demand.model) or remote_model(demand.model)
    if model is None and demand.price is None and demand.chunks_per_second is None:
        raise SettingsError(
            f"nothing is known of the model {demand.model}",
            hint="say --price or --chunks-per-second; `ragstone models list` shows those that are known",
        )
    if model and (
        demand.dimensions > model.dimensions
        or (model.dimensions != demand.dimensions and isinstance(model, LocalModel))
    ):
        raise SettingsError(f"{model.name} has {model.dimensions} dimensions, not {demand.dimensions}")
    return model


def _seconds(demand: Demand, known: Coefficients, model: Model | None) -> tuple[float | None, str, str]:
    """How long, how fast that is, and where it is known from."""
    tokens = demand.chunks * demand.tokens
    if demand.chunks_per_second:
        return demand.chunks / demand.chunks_per_second, f"{demand.chunks_per_second:g} chunks a second, as stated", ""
    if isinstance(model, LocalModel):
        speed = _speed(model, known.embedding) / _slower(demand, known)
        return tokens / speed, f"here, {speed:,.0f} tokens a second", known.embedding.origin
    if model or demand.price is not None:
        a_minute = known.embedding.endpoint_tokens_per_minute
        return (
            tokens / a_minute * 60,
            f"at an endpoint, {a_minute:,.0f} tokens a minute",
            known.embedding.endpoint_origin,
        )
    return None, "no listed model has these dimensions", ""


def _speed(model: LocalModel, known: EmbeddingCoefficients) -> float:
    """Tokens a second. A model with calibration ranges computes in 8-bit integers, any other in floats."""
    measured = known.tokens_per_second["int8" if model.ranges else "fp32"]
    weights = known.encoder_weights
    return measured * weights[DEFAULT_MODEL] / weights[model.name]
