"""Text by its place in a version: what a prompt gets where a chunk has a parent."""

from __future__ import annotations

from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.material import generation, stored, version
from ragstone.catalog.catalog import Catalog

LINES = ["zoë — 日本 😀", "second line", "third: ½"]
WHOLE = "\n".join(LINES)


@given(spans=st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE))).map(sorted), max_size=6))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_spans_are_cut_as_python_cuts_them_in_the_order_asked_for(
    catalog: Catalog, spans: list[list[int]]
) -> None:
    _, made = await generation(catalog)
    if not await catalog.states(made):
        await catalog.publish(made, [version("a", LINES)])
    (chunk, *_) = (await stored(catalog, made))["a"]
    found = await catalog.texts(made.id, "acme", [(chunk.version_id, start, end) for start, end in spans])
    assert found == [WHOLE[start:end] for start, end in spans]


async def test_text_is_of_the_current_version_of_this_generation_and_tenant_alone(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    _, other = await generation(catalog, settings="fixed")
    for one in (made, other):
        await catalog.publish(one, [version("a", LINES), version("b", LINES)])
    before = await stored(catalog, made)
    a, b = before["a"][0].version_id, before["b"][0].version_id
    await generation(catalog, tenant="rival")
    assert await catalog.texts(made.id, "rival", [(a, 0, 3)]) == [None]
    assert await catalog.texts(other.id, "acme", [(a, 0, 3)]) == [None]
    await catalog.publish(made, [version("a", ["another text"], revision="2")])
    assert await catalog.texts(made.id, "acme", [(b, 0, 3), (a, 0, 3), (uuid4(), 0, 3), (b, 1, 2)]) == [
        "zoë",
        None,
        None,
        "o",
    ]
    await catalog.delete(collection, ["b"])
    assert await catalog.texts(made.id, "acme", [(b, 0, 3)]) == [None]
    assert await catalog.texts(made.id, "acme", []) == []
