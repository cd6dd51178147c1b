"""What documents can be filtered by, as the catalog tells it to indexes and to those who ask."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
from hypothesis import given
from hypothesis import strategies as st

from catalog.material import MODIFIED, generation, version
from ragstone.catalog.catalog import Catalog
from ragstone.catalog.fields import OF_EVERY_DOCUMENT, fields, of_metadata
from ragstone.catalog.statements import migrations
from ragstone.models import Metadata, NewVersion, Replacement

SCALARS = st.text(max_size=4) | st.integers(-9, 9) | st.booleans() | st.floats(-9, 9)
JSON = st.recursive(
    st.none() | SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)


def described(uri: str, metadata: Metadata, source: str = "folder") -> NewVersion:
    made = version(uri, ["one", "two"], source=source)
    return replace(made, document=replace(made.document, metadata=metadata))


async def replacement(catalog: Catalog) -> Replacement:
    """The newest one."""
    return (await catalog.replacements(0, 1000))[0][-1]


def test_metadata_is_flattened_to_names_with_values() -> None:
    metadata = {
        "tags": ["python", 3, None],
        "author": {"name": "Ada", "langs": ["en"]},
        "draft": False,
        "title": "its own",
        "none": None,
        "empty": [],
        "rows": [{"a": 1}],
        "x" * 501: 1,
    }
    assert of_metadata(metadata) == {
        "tags": ("python", 3),
        "author.name": ("Ada",),
        "author.langs": ("en",),
        "draft": (False,),
        "metadata.title": ("its own",),
    }


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4), st.uuids())
def test_every_document_has_the_common_fields_whatever_its_metadata_says(metadata: Metadata, document: UUID) -> None:
    now = datetime(2024, 1, 2, tzinfo=UTC)
    made = fields(
        document,
        source="wiki",
        uri="https://a",
        title="A",
        media_type="text/html",
        modified_at=now,
        published_at=now,
        metadata=metadata,
    )
    assert made["source"] == ("wiki",)
    assert made["modified_at"] == ("2024-01-02T00:00:00+00:00",)
    assert made["sample"] == (int.from_bytes(document.bytes[:6]) / 2**48,)
    assert made.keys() >= OF_EVERY_DOCUMENT - {"tenant", "collection"}
    assert all(values for values in made.values())
    assert all(isinstance(value, str | int | float | bool) for values in made.values() for value in values)


def sample(document: UUID) -> float:
    now = datetime(2024, 1, 2, tzinfo=UTC)
    made = fields(document, source="", uri="", title="", media_type="", modified_at=None, published_at=now, metadata={})
    (value,) = made["sample"]
    assert isinstance(value, float)
    return value


def test_samples_are_even() -> None:
    assert 120 < sum(sample(uuid4()) < 0.1 for _ in range(2000)) < 280


async def test_an_index_is_told_the_fields(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    await catalog.publish(made, [described("file:///a", {"tags": ["x"], "deep": {"year": 2020}})])
    told = (await replacement(catalog)).fields
    assert told["tags"] == ("x",)
    assert told["deep.year"] == (2020,)
    assert told["source"] == ("folder",)
    assert told["uri"] == ("file:///a",)
    assert told["modified_at"] == (MODIFIED.isoformat(),)
    assert await catalog.fields(collection) == {"tags", "deep.year"}


async def test_field_names_are_kept_apart_by_tenant_and_collection(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    await catalog.publish(made, [described("file:///a", {"secret": 1})])
    same_name, _ = await generation(catalog, tenant="rival")
    other, _ = await generation(catalog, name="other")
    assert await catalog.fields(same_name) == set()
    assert await catalog.fields(other) == set()


async def test_whatever_an_index_holds_of_a_chunk_is_in_its_hash(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    seen = set()
    base = described("file:///a", {"tags": ["x"]})
    document = base.document
    variants = [
        base,
        replace(base, document=replace(document, metadata={"tags": ["y"]})),
        replace(base, document=replace(document, title="Another")),
        replace(base, document=replace(document, media_type="text/html")),
        replace(base, modified_at=None),
        replace(base, source="another"),
        described("file:///b", {"tags": ["x"]}),
    ]
    for one in variants:
        await catalog.publish(made, [one])
        first, second = (await replacement(catalog)).points
        assert len(first.hash) == 16
        assert first.hash != second.hash
        seen.add(first.hash)
    assert len(seen) == len(variants) - 1  # of the last, another document with the same content, all is the same


async def test_a_document_that_another_source_claims_is_told_anew(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    position = await catalog.publish(made, [described("file:///a", {}), described("file:///b", {})])
    await catalog.claim(collection, "folder", ["file:///a", "file:///b", "file:///unknown"])
    assert await catalog.head() == position
    await catalog.claim(collection, "wiki", ["file:///a"])
    (told,), reached = await catalog.replacements(position, 10)
    assert told.fields["source"] == ("wiki",)
    assert reached == await catalog.head()


async def test_a_source_that_takes_a_document_over_by_publishing_is_told_in_every_generation(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    _, beside = await generation(catalog, settings="fixed")
    for each in (made, beside):
        await catalog.publish(each, [described("file:///a", {}), described("file:///b", {})])
    position = await catalog.head()
    await catalog.publish(beside, [described("file:///a", {"new": 1}, source="wiki"), described("file:///b", {})])
    told, _ = await catalog.replacements(position, 10)
    sources = {(each.generation, each.fields["uri"][0]): each.fields["source"] for each in told}
    assert sources == {
        (beside.id, "file:///a"): ("wiki",),
        (made.id, "file:///a"): ("wiki",),
        (beside.id, "file:///b"): ("folder",),
    }


@given(st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3), JSON, max_size=4))
def test_names_do_not_depend_on_values(metadata: Metadata) -> None:
    """What the catalog lists as names is what documents are told to have."""
    for name, values in of_metadata(metadata).items():
        assert name.removeprefix("metadata.").split(".")[0] in {str(key).split(".")[0] for key in metadata}
        assert values


async def test_the_migration_finds_the_names_that_publishing_would_have(catalog: Catalog, database_url: str) -> None:
    collection, made = await generation(catalog)
    metadata = {"tags": ["x"], "deep": {"er": {"year": 1}}, "title": "t", "none": None, "object": {}}
    await catalog.publish(made, [described("file:///a", metadata)])
    before = await catalog.fields(collection)
    script = migrations()["0003_fields"].read_text()
    backfill = script[script.index("INSERT INTO ragstone.fields") :].split(";")[0]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM ragstone.fields")
        connection.execute(backfill)
    assert before == {"tags", "deep.er.year", "metadata.title"}
    assert await catalog.fields(collection) == before
