"""Capacity: an estimate is the sum of its coefficients, and says what does not go together."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.errors import SettingsError
from ragstone.index.capacity import (
    CLUSTERS,
    FILLED,
    Demand,
    Engine,
    Quantization,
    estimate,
    load_coefficients,
)

GIB = 2**30


def demand(**fields: Any) -> Demand:
    whole: dict[str, Any] = {"engine": "edge", "chunks": 200_000, "dimensions": 384} | fields
    return Demand(**whole)


def made_up(tmp_path: Path, **engine: dict[str, float]) -> Path:
    """A file of coefficients in which edge has the given figures and everything else is free."""
    own = {
        name: {"origin": "made up"} for name in ("memory", "disk", "building_memory", "building_disk", "write", "build")
    }
    known = json.loads(files("ragstone.index").joinpath("coefficients.json").read_text())
    known["engines"] = {
        name: own | {figure: {"origin": "made up"} | values for figure, values in engine.items()}
        for name in ("edge", "qdrant-scalar")
    }
    known["catalog"] = {"document": 7, "origin": "made up"}
    known["cores"] = 2
    file = tmp_path / "coefficients.json"
    file.write_text(json.dumps(known))
    return file


def test_sizes_are_what_the_coefficients_say(tmp_path: Path) -> None:
    known = load_coefficients(made_up(tmp_path, memory={"base": 5, "chunk": 3, "dimension": 2, "token": 0.5}))
    found = estimate(demand(chunks=100, dimensions=10, tokens=40, chunks_per_document=4), known)
    assert found.memory == {"base": 5, "document": 0, "chunk": 300, "dimension": 2000, "token": 2000}
    assert found.memory_total == 4305
    assert found.catalog_total == 25 * 7
    assert found.disk_total == 0


def test_building_takes_no_more_than_it_is_allowed(tmp_path: Path) -> None:
    known = load_coefficients(made_up(tmp_path, building_memory={"chunk": 10, "most": 500}))
    assert estimate(demand(chunks=20), known).building_memory == 200
    assert estimate(demand(chunks=2000), known).building_memory == 500


def test_building_takes_longer_than_in_proportion(tmp_path: Path) -> None:
    known = load_coefficients(made_up(tmp_path, build={"chunk": 1e-6, "dimension": 1e-8}))
    found = estimate(demand(chunks=1024, dimensions=100), known)
    assert found.build == pytest.approx(1024 * 10 * 2e-6)
    assert estimate(demand(chunks=1024, dimensions=100, cores=8), known).build == pytest.approx(found.build / 4)


def test_a_cluster_has_nodes_enough_for_all_copies(tmp_path: Path) -> None:
    known = load_coefficients(made_up(tmp_path, memory={"chunk": GIB}, build={"chunk": 1}, building_disk={"chunk": 8}))
    alone = estimate(demand(engine="qdrant", chunks=64, memory_per_node=100 * GIB), known)
    assert (alone.nodes, alone.shards, alone.build) == (1, 1, 64 * 6)
    found = estimate(demand(engine="qdrant", chunks=64, memory_per_node=10 * GIB, replicas=2), known)
    assert found.memory_total == 128 * GIB
    assert found.nodes == 16 == math.ceil(128 / (10 * FILLED))
    assert found.shards == 32, "two on each node"
    assert found.build == 64 * 1 * 2 / 16, "every copy is built, by sixteen nodes at a time, in shards of two chunks"
    assert found.building_disk == 64 * 8 / 2, "each node rewrites a shard, a 32nd, at a time"
    copies = estimate(demand(engine="qdrant", chunks=1, replicas=3), known)
    assert (copies.nodes, copies.shards) == (3, 1), "no two copies are on one node"


def test_an_engine_on_one_machine_says_when_it_does_not_fit(tmp_path: Path) -> None:
    known = load_coefficients(made_up(tmp_path, memory={"chunk": GIB}))
    assert estimate(demand(chunks=7, memory_per_node=10 * GIB), known).fits
    found = estimate(demand(chunks=9, memory_per_node=10 * GIB), known)
    assert (found.fits, found.nodes) == (False, 1)


@given(
    engine=st.sampled_from(get_args(Engine)),
    chunks=st.integers(1, 10**10),
    dimensions=st.integers(1, 80),
    tokens=st.integers(1, 8000),
    more=st.integers(2, 50),
)
def test_more_never_takes_less(engine: Engine, chunks: int, dimensions: int, tokens: int, more: int) -> None:
    known = load_coefficients()
    base: dict[str, Any] = {"engine": engine, "chunks": chunks, "dimensions": dimensions, "tokens": tokens}
    least = estimate(Demand(**base), known)
    for name in ("chunks", "dimensions", "tokens"):
        found = estimate(Demand(**base | {name: base[name] * more}), known)
        for figure in ("memory_total", "disk_total", "catalog_total", "write", "nodes", "shards"):
            assert getattr(found, figure) >= getattr(least, figure) > 0, (name, figure)
    assert least.nodes == 1 or engine in CLUSTERS


@pytest.mark.parametrize("quantization", get_args(Quantization))
def test_quantization_is_what_memory_is_made_of(quantization: Quantization) -> None:
    found = estimate(demand(engine="qdrant", quantization=quantization), load_coefficients())
    bytes_ = {"none": 4, "scalar": 1, "binary": 1 / 8}[quantization]
    assert found.memory["dimension"] == pytest.approx(200_000 * 384 * bytes_)


def test_embedding_here_is_slower_by_the_models_weights() -> None:
    known = load_coefficients()
    small = estimate(demand(), known).embedding
    assert small.seconds is not None
    assert (small.model, small.money) == ("all-MiniLM-L6-v2", 0)
    assert small.seconds == pytest.approx(200_000 * 200 / known.embedding.tokens_per_second["int8"])
    base = estimate(demand(dimensions=768), known).embedding
    assert base.model == "bge-base-en-v1.5"
    floats = known.embedding.tokens_per_second["fp32"]
    assert base.seconds == pytest.approx(200_000 * 200 / floats * 84.9 / 10.6, rel=1e-3)
    assert estimate(demand(cores=2 * known.cores), known).embedding.seconds == pytest.approx(small.seconds / 2)


def test_every_local_model_has_a_speed() -> None:
    from ragstone.embedding.model_list import local_models

    for model in local_models():
        assert estimate(demand(dimensions=model.dimensions, model=model.name), load_coefficients()).embedding.seconds


def test_embedding_at_an_endpoint_costs_its_price() -> None:
    known = load_coefficients()
    listed = estimate(demand(dimensions=3072), known).embedding
    assert (listed.model, listed.tokens) == ("text-embedding-3-large", 40_000_000)
    assert listed.money == pytest.approx(40 * 0.13)
    assert listed.seconds == pytest.approx(40e6 / known.embedding.endpoint_tokens_per_minute * 60)
    shorter = estimate(demand(dimensions=256, model="text-embedding-3-large"), known).embedding
    assert shorter.money == listed.money
    own = estimate(demand(dimensions=999, price=2.5, chunks_per_second=400), known).embedding
    assert (own.money, own.seconds, own.model) == (100, 500, None)
    unknown = estimate(demand(dimensions=999), known).embedding
    assert (unknown.money, unknown.seconds) == (None, None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"chunks": 0}, "chunks must be above 0"),
        ({"dimensions": -1}, "dimensions must be above 0"),
        ({"chunks_per_document": 0}, "chunks per document must be above 0"),
        ({"engine": "pgvector", "dimensions": 4001}, "takes 4000 dimensions at most"),
        ({"replicas": 2}, "edge has no replicas"),
        ({"quantization": "binary"}, "quantization of edge is not chosen"),
        ({"model": "all-MiniLM-L6-v2", "dimensions": 256}, "has 384 dimensions, not 256"),
        ({"model": "text-embedding-3-small", "dimensions": 3072}, "has 1536 dimensions, not 3072"),
        ({"model": "somebody/something"}, "nothing is known of the model"),
        ({"engine": "pinecone"}, "no coefficients for pinecone"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        estimate(demand(**fields), load_coefficients())
    assert refused.value.hint or "above 0" in said or "dimensions, not" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "machine: Field required"),
        ("no JSON", "Invalid JSON"),
        (b"\xff\xfe", "these are no coefficients"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_holds_no_coefficients_is_refused(tmp_path: Path, text: str | bytes | None, said: str) -> None:
    file = tmp_path / "coefficients.json"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match=said):
        load_coefficients(file)
