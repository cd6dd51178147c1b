"""Collections, sources, generations and fingerprints."""

from __future__ import annotations

import asyncio
import dataclasses

import numpy as np
import pytest

from catalog.material import FINGERPRINT, PROBES, generation, texts, version
from ragstone.catalog.catalog import Catalog
from ragstone.errors import CatalogError


async def test_a_collection_is_made_once(catalog: Catalog) -> None:
    assert await catalog.collection("acme", "handbook") is None
    made = await asyncio.gather(*(catalog.ensure_collection("acme", "handbook") for _ in range(8)))
    assert len(set(made)) == 1
    assert await catalog.collection("acme", "handbook") == made[0]
    assert (await catalog.ensure_collection("acme", "other")).id != made[0].id
    assert (await catalog.ensure_collection("rival", "handbook")).id != made[0].id


@pytest.mark.parametrize(("tenant", "name"), [("", "handbook"), ("a\0b", "handbook"), ("acme", "\ud800")])
async def test_names_that_cannot_be_stored(catalog: Catalog, tenant: str, name: str) -> None:
    with pytest.raises(CatalogError):
        await catalog.ensure_collection(tenant, name)


async def test_a_generation_is_made_once_for_the_same_settings(catalog: Catalog) -> None:
    collection, first = await generation(catalog)
    _, again = await generation(catalog)
    _, other = await generation(catalog, settings="fixed")
    assert first == again
    assert await catalog.generations(collection) == [first, other]
    assert await catalog.generation("acme", first.id) == first
    assert first.fingerprint == FINGERPRINT
    assert first.settings == {"strategy": "structure"}


async def test_probes_are_those_seen_first(catalog: Catalog) -> None:
    collection, _ = await generation(catalog)
    await catalog.create_generation(collection, FINGERPRINT, PROBES + 1, {"another": True})
    np.testing.assert_array_equal(await catalog.probes(FINGERPRINT), PROBES)
    with pytest.raises(CatalogError, match="not in the catalog"):
        await catalog.probes(dataclasses.replace(FINGERPRINT, digest="0" * 64))
    with pytest.raises(CatalogError, match="shape"):
        await catalog.create_generation(collection, FINGERPRINT, PROBES[:, :3], {})


async def test_serving_is_switched_and_switched_back(catalog: Catalog) -> None:
    collection, first = await generation(catalog)
    _, second = await generation(catalog, settings="fixed")
    for before, made in ((None, first), (first, second), (second, first), (second, first)):
        await catalog.serve(made)
        expected = dataclasses.replace(collection, serving=made.id, previous=before.id if before else None)
        assert await catalog.collection("acme", "handbook") == expected


async def test_another_collections_generation_cannot_be_served(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    other, _ = await generation(catalog, name="other")
    with pytest.raises(CatalogError):
        await catalog.serve(dataclasses.replace(made, collection=other.id))
    assert await catalog.collection("acme", "other") == other


async def test_generations_stand_beside_each_other(catalog: Catalog) -> None:
    _, first = await generation(catalog)
    _, second = await generation(catalog, settings="fixed")
    await catalog.publish(first, [version("file:///a", ["whole"])])
    await catalog.publish(second, [version("file:///a", ["in", "parts"])])
    assert await texts(catalog, first) == {"file:///a": ["whole"]}
    assert await texts(catalog, second) == {"file:///a": ["in", "parts"]}


async def test_a_source_is_remembered_as_it_was_read_last(catalog: Catalog) -> None:
    collection, _ = await generation(catalog)
    await catalog.record_source(collection, "docs", "file:///old/")
    (before,) = await catalog.sources(collection)
    await catalog.record_source(collection, "docs", "file:///new/")
    await catalog.record_source(collection, "a table", "sql://inventory/")
    table, docs = await catalog.sources(collection)
    assert (table.name, docs.name, docs.prefix) == ("a table", "docs", "file:///new/")
    assert docs.last_synced_at > before.last_synced_at
