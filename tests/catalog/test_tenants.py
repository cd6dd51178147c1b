"""No tenant can read or write another's rows, whatever ids are named, although the server's superuser connects."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL, Identifier

from catalog.material import FINGERPRINT, PREFIX, PROBES, generation, stored, texts, version
from ragstone.catalog.catalog import Catalog
from ragstone.errors import CatalogError
from ragstone.models import Collection, Failure, Generation, Item

TENANT_TABLES = """
    SELECT c.relname, c.relrowsecurity, EXISTS (
        SELECT FROM pg_policies p
        WHERE p.schemaname = 'ragstone' AND p.tablename = c.relname AND 'ragstone_tenant' = ANY (p.roles)
            AND p.cmd = 'ALL' AND p.qual LIKE '%tenant = current_setting(''ragstone.tenant''%'
    )
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'ragstone'::regnamespace AND c.relkind IN ('r', 'p') AND a.attname = 'tenant'
"""


async def _two_tenants(catalog: Catalog) -> tuple[Collection, Generation]:
    """A tenant with something in every table, and the rival that wants it, who has a collection of the same name."""
    collection, made = await generation(catalog, "acme")
    await catalog.publish(made, [version("file:///secret", ["secret"])])
    await catalog.serve(made)
    await catalog.record_source(collection, "folder", "file:///")
    failure = Failure(uri="file:///scan", source="folder", revision="1", settings="", code="empty", reason="no text")
    await catalog.record_failures(collection, [failure])
    await catalog.pushed.put(collection, "feed", Item(uri="push:secret", revision=None, name="secret"), b"secret")
    await catalog.record_question(collection, "What is secret?")
    await generation(catalog, "rival")
    return collection, made


async def test_every_table_with_a_tenant_is_under_row_level_security(catalog: Catalog, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(TENANT_TABLES).fetchall()
    assert len(tables) >= 9
    assert [name for name, enabled, has_policy in tables if not (enabled and has_policy)] == []


async def test_every_table_is_empty_for_the_rival(catalog: Catalog, database_url: str) -> None:
    await _two_tenants(catalog)
    with psycopg.connect(database_url, autocommit=True) as owner:
        tables = [Identifier("ragstone", name) for name, *_ in owner.execute(TENANT_TABLES).fetchall()]
        for table in tables:
            of_acme = SQL("{} WHERE tenant = 'acme'").format(table)
            assert owner.execute(SQL("SELECT count(*) FROM {}").format(of_acme)).fetchone() != (0,), table
            with psycopg.connect(database_url) as rival:
                rival.execute("SET LOCAL ROLE ragstone_tenant")
                rival.execute("SELECT set_config('ragstone.tenant', 'rival', true)")
                assert rival.execute(SQL("SELECT count(*) FROM {}").format(of_acme)).fetchone() == (0,), table
                rival.rollback()


@pytest.mark.parametrize("tenant", ["rival", ""])
async def test_the_role_cannot_write_rows_of_another(catalog: Catalog, database_url: str, tenant: str) -> None:
    _, made = await _two_tenants(catalog)
    before = await texts(catalog, made)
    refused = ["INSERT INTO ragstone.collections VALUES ('acme', gen_random_uuid(), 'x')"]
    refused += ["INSERT INTO ragstone.tenants VALUES ('third')"]
    refused += ["UPDATE ragstone.collections SET tenant = 'acme'"] if tenant else []
    without_effect = ["UPDATE ragstone.documents SET source = 'mine'", "DELETE FROM ragstone.chunks"]
    with psycopg.connect(database_url) as connection:
        for query in refused + without_effect:
            connection.execute("SET LOCAL ROLE ragstone_tenant")
            connection.execute("SELECT set_config('ragstone.tenant', %s, true)", (tenant,))
            if query in refused:
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                    connection.execute(query)
                connection.rollback()
            else:
                assert connection.execute(query).rowcount == 0
                connection.commit()
    assert await texts(catalog, made) == before


async def test_the_role_owns_nothing_and_cannot_log_in(catalog: Catalog, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        role = connection.execute(
            "SELECT rolcanlogin, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = 'ragstone_tenant'"
        ).fetchone()
        owned = connection.execute("SELECT count(*) FROM pg_class WHERE relowner = 'ragstone_tenant'::regrole")
        assert role == (False, False, False)
        assert owned.fetchone() == (0,)


async def test_the_role_ends_with_the_transaction(catalog: Catalog) -> None:
    """A connection goes back to the pool as it was, after success and after an error."""
    _, made = await _two_tenants(catalog)
    with pytest.raises(CatalogError):
        await catalog.publish(dataclasses.replace(made, tenant="rival"), [version("file:///a", ["x"])])
    for _ in range(4):
        await catalog.chunks(made.id, "rival", [made.id])
        assert await catalog.head() == 1


async def test_equal_text_is_not_shared_between_tenants(catalog: Catalog) -> None:
    """Else one could learn, by what need not be embedded, what the other has."""
    await _two_tenants(catalog)
    _, rivals = await generation(catalog, "rival")
    assert await catalog.known_vectors(rivals, [PREFIX + "secret"]) == {}


ATTEMPTS = st.sampled_from(["publish", "touch", "delete", "serve", "source", "generation", "vectors", "read"])
URIS = st.sampled_from(["file:///secret", "file:///own"])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(attempts=st.lists(st.tuples(ATTEMPTS, URIS), max_size=12))
async def test_no_call_reaches_another_tenant(catalog: Catalog, attempts: list[tuple[str, str]]) -> None:
    collection, made = await _two_tenants(catalog)
    before = await _snapshot(catalog, collection, made)
    for attempt, uri in attempts:
        with contextlib.suppress(CatalogError):
            await _attempt(catalog, attempt, uri, *_forged(collection, made))
    assert await _snapshot(catalog, collection, made) == before


def _forged(collection: Collection, made: Generation) -> tuple[Collection, Generation]:
    return dataclasses.replace(collection, tenant="rival"), dataclasses.replace(made, tenant="rival")


async def _attempt(catalog: Catalog, attempt: str, uri: str, collection: Collection, made: Generation) -> None:
    """Do something in the name of the rival with the ids of the other."""
    match attempt:
        case "publish":
            await catalog.publish(made, [version(uri, ["mine"])])
        case "touch":
            await catalog.touch(made, {uri: "mine"})
        case "delete":
            await catalog.delete(collection, [uri])
        case "serve":
            await catalog.serve(made)
        case "source":
            await catalog.record_source(collection, "folder", uri)
        case "generation":
            await catalog.create_generation(collection, FINGERPRINT, PROBES, {"mine": True})
        case "vectors":
            await catalog.save_vectors(made, [PREFIX + "secret"], np.zeros((1, 4), np.float32))
        case "read":
            await _read_nothing(catalog, collection, made)


async def _read_nothing(catalog: Catalog, collection: Collection, made: Generation) -> None:
    (chunk,) = (await stored(catalog, dataclasses.replace(made, tenant="acme")))["file:///secret"]
    assert await catalog.chunks(made.id, "rival", [chunk.id]) == {}
    assert await catalog.generation("rival", made.id) is None
    assert "file:///secret" not in await catalog.states(made)
    assert await catalog.sources(collection) == []


async def _snapshot(catalog: Catalog, collection: Collection, made: Generation) -> object:
    known = await catalog.known_vectors(made, [PREFIX + "secret"])
    return (
        await texts(catalog, made),
        await catalog.states(made),
        await catalog.stats(collection),
        [source.prefix for source in await catalog.sources(collection)],
        await catalog.generations(collection),
        await catalog.collection("acme", "handbook"),
        {text: vector.tolist() for text, vector in known.items()},
    )
