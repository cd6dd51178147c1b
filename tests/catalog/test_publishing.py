"""Publishing, superseding, deleting, and reading back what stands."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import uuid

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.material import MODIFIED, PREFIX, generation, stored, texts, vector, version
from postgres import Postgres
from ragstone.catalog.catalog import Catalog
from ragstone.errors import BrokenDocument, CatalogError
from ragstone.models import NewVersion, document_id


async def test_a_published_version_is_read_back_whole(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    published = version("file:///a", ["one", "zwei 🚲", "three"])
    await catalog.publish(made, [published])

    document = document_id("acme", "handbook", "file:///a")
    chunks = (await stored(catalog, made))["file:///a"]
    assert [c.text for c in chunks] == ["one", "zwei 🚲", "three"]
    second = chunks[1]
    assert published.document.text[second.start : second.end] == "zwei 🚲"
    assert (second.uri, second.title, second.path) == ("file:///a", "Title", ("Title", "Part"))
    assert (second.ordinal, second.pages, second.modified_at) == (1, (2, 2), MODIFIED)
    assert second.document_id == document
    assert await catalog.chunks(made.id, "acme", [second.id]) == {second.id: second}


async def test_a_new_version_takes_the_old_ones_place(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    first = await catalog.publish(made, [version("file:///a", ["old"])])
    (old,) = (await stored(catalog, made))["file:///a"]
    second = await catalog.publish(made, [version("file:///a", ["new", "newer"], revision="2")])

    assert second > first
    assert await texts(catalog, made) == {"file:///a": ["new", "newer"]}
    assert await catalog.chunks(made.id, "acme", [old.id]) == {}
    assert (await catalog.states(made))["file:///a"].revision == "2"


async def test_history_keeps_a_superseded_version_without_its_text(catalog: Catalog, database_url: str) -> None:
    _, made = await generation(catalog)
    for revision in ("1", "2", "3"):
        await catalog.publish(made, [version("file:///a", [f"text {revision}"], revision)])
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT number, revision, text, ended_at IS NULL FROM ragstone.versions ORDER BY number"
        ).fetchall()
        sections = connection.execute("SELECT count(DISTINCT version) FROM ragstone.sections").fetchone()
    assert rows == [(1, "1", None, False), (2, "2", None, False), (3, "3", "text 3", True)]
    assert sections == (1,)


async def test_ids_do_not_depend_on_when_or_where(postgres: Postgres) -> None:
    ids = []
    for _ in range(2):
        with postgres.database() as url:
            catalog = await Catalog.open(url)
            collection, made = await generation(catalog)
            await catalog.publish(made, [version("file:///a", ["one", "two"])])
            await catalog.publish(made, [version("file:///a", ["one", "three"])])
            chunks = (await stored(catalog, made))["file:///a"]
            ids.append((collection.id, made.id, [(c.id, c.version_id) for c in chunks]))
            await catalog.aclose()
    assert ids[0] == ids[1]


async def test_of_two_versions_of_one_document_in_a_batch_the_later_stands(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    await catalog.publish(made, [version("file:///a", ["first"]), version("file:///a", ["second"])])
    assert await texts(catalog, made) == {"file:///a": ["second"]}


async def test_a_document_without_chunks_and_an_empty_batch(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    position = await catalog.publish(made, [version("file:///a", [])])
    assert await texts(catalog, made) == {"file:///a": []}
    assert await catalog.publish(made, []) == position


async def test_touch_changes_the_revision_alone(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    position = await catalog.publish(made, [version("file:///a", ["one"]), version("file:///b", ["two"])])
    before = await catalog.states(made)
    await catalog.touch(made, {"file:///a": "9", "file:///unknown": "9"})
    after = await catalog.states(made)
    assert after["file:///a"].revision == "9"
    assert after["file:///a"].last_indexed_at > before["file:///a"].last_indexed_at
    assert after["file:///b"] == before["file:///b"]
    assert await catalog.head() == position


async def test_delete_removes_a_document_from_every_generation(catalog: Catalog) -> None:
    collection, first = await generation(catalog)
    _, second = await generation(catalog, settings="fixed")
    for made in (first, second):
        position = await catalog.publish(made, [version("file:///a", ["one"]), version("file:///b", ["two"])])
    gone = (await stored(catalog, first))["file:///a"]

    assert await catalog.delete(collection, ["file:///a", "file:///unknown"]) > position
    for made in (first, second):
        assert await texts(catalog, made) == {"file:///b": ["two"]}
    assert await catalog.chunks(first.id, "acme", [c.id for c in gone]) == {}
    assert await catalog.delete(collection, ["file:///a"]) == await catalog.head()


async def test_a_deleted_document_can_come_back(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    await catalog.publish(made, [version("file:///a", ["one"])])
    await catalog.delete(collection, ["file:///a"])
    await catalog.publish(made, [version("file:///a", ["one again"])])
    assert await texts(catalog, made) == {"file:///a": ["one again"]}


async def test_chunks_of_another_generation_are_not_given(catalog: Catalog) -> None:
    _, first = await generation(catalog)
    _, second = await generation(catalog, settings="fixed")
    await catalog.publish(first, [version("file:///a", ["one"])])
    (chunk,) = (await stored(catalog, first))["file:///a"]
    assert await catalog.chunks(second.id, "acme", [chunk.id]) == {}


async def test_states_under_a_prefix(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    uris = ["file:///a/1", "file:///a/2", "file:///a_b", "file:///A/1", "file:///ä"]
    await catalog.publish(made, [version(uri, ["text"]) for uri in uris])
    assert set(await catalog.states(made, "file:///a/")) == {"file:///a/1", "file:///a/2"}
    assert set(await catalog.states(made, "file:///a_")) == {"file:///a_b"}
    assert set(await catalog.states(made)) == set(uris)


async def test_equal_text_is_stored_once(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    await catalog.publish(made, [version("file:///a", ["same", "same", "other"]), version("file:///b", ["same"])])
    stats = await catalog.stats(collection)
    assert (stats.documents, stats.chunks, stats.vectors) == (2, 4, 2)
    assert stats.head == await catalog.head()
    (only,) = stats.generations
    assert (only.generation, only.documents, only.chunks) == (made.id, 2, 4)


async def test_vectors_outlive_the_text_that_asked_for_them(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    await catalog.publish(made, [version("file:///a", ["one"])])
    await catalog.delete(collection, ["file:///a"])
    known = await catalog.known_vectors(made, [PREFIX + "one", PREFIX + "never seen"])
    assert list(known) == [PREFIX + "one"]
    np.testing.assert_array_equal(known[PREFIX + "one"], vector(PREFIX + "one"))


async def test_saved_vectors_are_known_and_published_with(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    await catalog.save_vectors(made, ["one", "two", "one"], np.eye(3, 4, dtype=np.float32))
    await catalog.save_vectors(made, ["two"], np.ones((1, 4), dtype=np.float32))
    known = await catalog.known_vectors(made, ["one", "two"])
    np.testing.assert_array_equal(known["two"], [0, 1, 0, 0])
    assert set(known) == {"one", "two"}
    with pytest.raises(CatalogError, match="shape"):
        await catalog.save_vectors(made, ["one"], np.ones((1, 3), dtype=np.float32))


def _with_document(changed: NewVersion, **changes: object) -> NewVersion:
    return dataclasses.replace(changed, document=dataclasses.replace(changed.document, **changes))  # type: ignore[arg-type]


BROKEN = {
    "NUL in the text": _with_document(version("file:///bad", ["x"]), text="x\0"),
    "NUL in the metadata": _with_document(version("file:///bad", ["x"]), metadata={"a": "\0"}),
    "half a surrogate pair in the metadata": _with_document(version("file:///bad", ["x"]), metadata={"a": "\ud800"}),
    "half a surrogate pair": version("file:///bad", ["x\ud800"]),
    "metadata that is not JSON": _with_document(version("file:///bad", ["x"]), metadata={"a": {1, 2}}),
    "metadata that is not a number": _with_document(version("file:///bad", ["x"]), metadata={"a": float("nan")}),
    "too few vectors": dataclasses.replace(version("file:///bad", ["x", "y"]), vectors=np.ones((1, 4), np.float32)),
    "vectors of another size": dataclasses.replace(version("file:///bad", ["x"]), vectors=np.ones((1, 5), np.float32)),
    "a vector that is not finite": dataclasses.replace(
        version("file:///bad", ["x"]), vectors=np.full((1, 4), np.nan, np.float32)
    ),
    "a section that is not there": _with_document(version("file:///bad", ["x"]), sections=()),
    "a URI that is too long": version("file:///bad" + "x" * 2000, ["x"]),
}


@pytest.mark.parametrize("bad", BROKEN.values(), ids=BROKEN)
async def test_bad_content_is_refused_by_name_and_nothing_of_the_batch_is_there(
    catalog: Catalog, bad: NewVersion
) -> None:
    _, made = await generation(catalog)
    await catalog.publish(made, [version("file:///good", ["old"])])
    with pytest.raises(BrokenDocument, match="file:///bad"):
        await catalog.publish(made, [version("file:///good", ["new"]), bad])
    assert await texts(catalog, made) == {"file:///good": ["old"]}


def _overlapping_ordinals(uri: str) -> NewVersion:
    """What only PostgreSQL notices, when the rows before it are in already."""
    made = version(uri, ["x", "y"])
    return dataclasses.replace(made, chunks=tuple(dataclasses.replace(c, ordinal=0) for c in made.chunks))


async def test_a_publication_that_fails_midway_leaves_what_was(catalog: Catalog, database_url: str) -> None:
    collection, made = await generation(catalog)
    position = await catalog.publish(made, [version("file:///a", ["old a"]), version("file:///b", ["old b"])])
    before = await catalog.states(made), await catalog.stats(collection)
    with pytest.raises(CatalogError):
        await catalog.publish(made, [version("file:///a", ["new a"]), _overlapping_ordinals("file:///b")])
    assert (await catalog.states(made), await catalog.stats(collection)) == before
    assert await texts(catalog, made) == {"file:///a": ["old a"], "file:///b": ["old b"]}
    assert await catalog.head() == position
    await catalog.publish(made, [version("file:///a", ["new a"])])
    assert (await texts(catalog, made))["file:///a"] == ["new a"]


async def test_of_one_document_published_many_times_at_once_the_latest_observation_wins(
    catalog: Catalog, database_url: str
) -> None:
    _, made = await generation(catalog)
    other = await Catalog.open(database_url)
    versions = [dataclasses.replace(version("file:///a", [f"text {n}"]), seen=n) for n in range(24)]
    random.Random(5).shuffle(versions)
    await asyncio.gather(*((catalog, other)[n % 2].publish(made, [v]) for n, v in enumerate(versions)))
    assert await texts(catalog, made) == {"file:///a": ["text 23"]}
    await other.aclose()


EVENTS = st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=8, unique_by=lambda e: e[0])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(events=EVENTS, uri=st.uuids())
async def test_a_late_event_neither_brings_back_nor_takes_away(
    catalog: Catalog, events: list[tuple[int, bool]], uri: uuid.UUID
) -> None:
    """(seen, there) in any order: the document ends as the latest observation found it."""
    collection, made = await generation(catalog)
    for seen, there in events:
        if there:
            await catalog.publish(made, [dataclasses.replace(version(str(uri), [f"seen {seen}"]), seen=seen)])
        else:
            await catalog.delete(collection, [str(uri)], seen)
    state = (await texts(catalog, made)).get(str(uri))
    # A deletion of what was never there leaves no tombstone: what comes first must be an upsert to count.
    first = next((place for place, (_, there) in enumerate(events) if there), len(events))
    latest = max(events[first:], default=(0, False))
    assert state == ([f"seen {latest[0]}"] if latest[1] else None)


async def test_batches_that_overlap_do_not_lock_each_other_out(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    uris = [f"file:///{n}" for n in range(40)]

    async def publish(order: list[str]) -> None:
        for n in range(6):
            await catalog.publish(made, [version(uri, [uri, f"text {n}"]) for uri in order])

    async def touch_and_delete(order: list[str]) -> None:
        for n in range(20):
            await catalog.touch(made, dict.fromkeys(order, str(n)))
            await catalog.delete(collection, order[n::5])

    await catalog.publish(made, [version(uri, [uri]) for uri in uris])
    await asyncio.gather(*(work(order) for work in (publish, touch_and_delete) for order in (uris, uris[::-1])))


async def test_a_generation_of_another_tenant_cannot_be_published_to(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    with pytest.raises(CatalogError, match="has no generation"):
        await catalog.publish(dataclasses.replace(made, tenant="rival"), [version("file:///a", ["one"])])


URIS = st.sampled_from(["file:///a", "file:///b", "file:///c"])
LINES = st.lists(st.sampled_from(["one", "two", "three"]), max_size=3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.dictionaries(URIS, LINES, min_size=1)),
        st.tuples(st.just("touch"), st.dictionaries(URIS, st.text("123", min_size=1), min_size=1)),
        st.tuples(st.just("delete"), st.lists(URIS, min_size=1).map(dict.fromkeys)),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_any_sequence_of_writes_agrees_with_a_dictionary(
    catalog: Catalog, steps: list[tuple[str, dict[str, object]]]
) -> None:
    collection, made = await generation(catalog, name=f"after {await catalog.head()}")
    model: dict[str, tuple[list[str], str]] = {}
    applied: dict[object, list[str]] = {}
    start = await catalog.head()
    for kind, values in steps:
        if kind == "publish":
            await catalog.publish(made, [version(uri, lines, "new") for uri, lines in values.items()])  # type: ignore[arg-type]
            model |= {uri: (lines, "new") for uri, lines in values.items()}  # type: ignore[misc]
        elif kind == "touch":
            await catalog.touch(made, values)  # type: ignore[arg-type]
            model |= {uri: (model[uri][0], rev) for uri, rev in values.items() if uri in model}  # type: ignore[misc]
        else:
            await catalog.delete(collection, list(values))
            model = {uri: kept for uri, kept in model.items() if uri not in values}
    states = await catalog.states(made)
    assert {uri: state.revision for uri, state in states.items()} == {uri: rev for uri, (_, rev) in model.items()}
    assert await texts(catalog, made) == {uri: lines for uri, (lines, _) in model.items()}
    for replacement in (await catalog.replacements(start, 1000))[0]:
        applied[replacement.document_id] = [p.text for p in replacement.points]
    expected = {states[uri].id: [PREFIX + line for line in lines] for uri, (lines, _) in model.items() if lines}
    assert {document: points for document, points in applied.items() if points} == expected


async def test_metadata_may_hold_anything_that_json_can(catalog: Catalog) -> None:
    _, made = await generation(catalog)
    metadata = {"text": "\\u0000 \\\\u0000 ü \\", "list": [1, 2.5, None, {"a": True}]}
    await catalog.publish(made, [_with_document(version("file:///a", ["one"]), metadata=metadata)])
    assert await texts(catalog, made) == {"file:///a": ["one"]}
