"""An audit finds whatever is wrong with an index, and nothing else; a repair leaves nothing of it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.material import FINGERPRINT, generation, version
from ragstone.catalog.catalog import Catalog
from ragstone.errors import IndexFailure, IndexUnavailable
from ragstone.index import audit as auditing
from ragstone.index.applier import Applier, follow_alone
from ragstone.index.audit import KINDS, Auditor
from ragstone.index.base import Index
from ragstone.index.edge.client import EdgeIndex
from ragstone.index.exact import ExactIndex
from ragstone.index.pgvector import PgvectorIndex
from ragstone.indexing.tasks import end
from ragstone.models import Collection, Entry, Generation, Point, Replacement, Scope, document_id, scope_of

NAMES = "abcd"
OTHER_SPACE = "e" * 64


@dataclass(frozen=True, kw_only=True)
class Stand:
    """Two tenants' documents in the catalog, of one vector space, and an index that follows."""

    catalog: Catalog
    index: Index
    collection: Collection
    ours: Generation
    gone: Generation  # dropped
    theirs: Generation

    @property
    def auditor(self) -> Auditor:
        return Auditor(self.catalog, self.index, "tested", patience=20)

    async def found(self) -> dict[str, int]:
        return {kind: count for kind, count in (await self.auditor.audit()).found.items() if count}

    async def apply(self, *wrong: Replacement) -> None:
        """Through the index's own door, behind the change log's back."""
        await self.caught_up()
        await self.index.apply(wrong, await self.index.position())

    async def caught_up(self) -> None:
        assert await self.index.wait(await self.catalog.head(), 20)

    async def state(self, made: Generation, name: str) -> Replacement:
        wanted = document_id(made.tenant, "handbook", name)
        changes, _ = await self.catalog.replacements(0, 10**6)
        return next(r for r in changes if (r.generation, r.document_id) == (made.id, wanted))


async def stand(catalog: Catalog, index: Index) -> Stand:
    collection, ours = await generation(catalog)
    _, gone = await generation(catalog, settings="fixed")
    _, theirs = await generation(catalog, "rival")
    for one in (ours, gone, theirs):
        await catalog.publish(one, [version(name, [f"{one.tenant} {name} {n}" for n in range(3)]) for name in NAMES])
    await catalog.publish(ours, [version("d", ["d anew"], revision="2")])
    await catalog.delete(collection, ["c"])
    await catalog.drop(collection, gone)
    return Stand(catalog=catalog, index=index, collection=collection, ours=ours, gone=gone, theirs=theirs)


@pytest.fixture
async def exact(catalog: Catalog) -> AsyncIterator[Stand]:
    index = ExactIndex()
    following = asyncio.create_task(Applier(catalog, index).run())
    yield await stand(catalog, index)
    await end(following)


@pytest.fixture
async def edge(catalog: Catalog, database_url: str, tmp_path: Path) -> AsyncIterator[Stand]:
    index = EdgeIndex.open(tmp_path, database_url, linger=0)
    yield await stand(catalog, index)
    await index.aclose()


@pytest.fixture
async def pgvector(catalog: Catalog, database_url: str) -> AsyncIterator[Stand]:
    index = PgvectorIndex.open(database_url)
    following = asyncio.create_task(follow_alone(catalog, index, "pgvector"))
    yield await stand(catalog, index)
    await end(following)
    await index.aclose()


def extra() -> Point:
    return Point(chunk_id=uuid4(), text="fox", vector=np.ones(4, np.float32), hash=bytes(16))


async def corruptions(at: Stand) -> dict[str, tuple[Replacement, dict[str, int]]]:
    """Something wrong to apply of each kind, by what it is, and how many points are then wrong at least."""
    a, b = await at.state(at.ours, "a"), await at.state(at.ours, "b")
    theirs = await at.state(at.theirs, "a")
    deleted = await at.state(at.ours, "c")
    first, *others = a.points
    return {
        "a point is missing": (replace(a, points=tuple(others)), {"missing": 1}),
        "a document is missing": (replace(a, points=()), {"missing": 3}),
        "a superseded point": (replace(b, points=(*b.points, extra())), {"left_over": 1}),
        "a deleted document": (replace(deleted, points=(extra(), extra())), {"left_over": 2}),
        "a document nobody knows": (replace(a, document_id=uuid4(), points=(extra(),)), {"left_over": 1}),
        "a dropped generation": (replace(a, generation=at.gone.id, points=(extra(),)), {"left_over": 1}),
        "a generation nobody knows": (replace(a, generation=uuid4(), points=(extra(),)), {"left_over": 1}),
        "another text": (replace(a, points=(replace(first, hash=bytes(16)), *others)), {"wrong_hash": 1}),
        "another document's": (replace(a, document_id=uuid4(), points=(first,)), {"left_over": 1}),
        "another space": (replace(a, fingerprint=OTHER_SPACE), {"wrong_fingerprint": 3}),
        "another tenant's document": (replace(theirs, tenant="acme", generation=at.ours.id), {"wrong_tenant": 3}),
        "another tenant's generation": (replace(theirs, generation=at.ours.id), {"wrong_tenant": 3}),
        "nobody's tenant": (replace(a, tenant="nobody", points=(extra(),)), {"wrong_tenant": 1}),
    }


async def test_each_kind_is_found_in_the_exact_index_and_mended(exact: Stand) -> None:
    await each_kind(exact, set(await corruptions(exact)))


async def test_each_kind_is_found_in_the_edge_index_and_mended(edge: Stand) -> None:
    one_of_each = {"a point is missing", "a dropped generation", "another text", "another space"}
    await each_kind(edge, one_of_each | {"a superseded point", "another tenant's document"})


async def test_each_kind_is_found_in_the_pgvector_index_and_mended(pgvector: Stand) -> None:
    await each_kind(pgvector, set(await corruptions(pgvector)))


async def each_kind(at: Stand, chosen: Set[str]) -> None:
    assert await at.found() == {}
    for what, (wrong, expected) in (await corruptions(at)).items():
        if what not in chosen:
            continue
        await at.apply(wrong)
        repair = await at.auditor.repair()
        found = {kind: count for kind, count in repair.found.found.items() if count}
        # Where one id is one point in all of a space, what is put elsewhere is missing where it was.
        assert found in (expected, expected | {"missing": sum(expected.values())}), what
        assert repair.left.clean, what
        assert repair.logged + repair.dropped > 0
        assert await at.found() == {}, what


async def test_a_clean_index_is_told_clean_with_all_that_was_compared(exact: Stand) -> None:
    seen: list[int] = []
    audit = await Auditor(exact.catalog, exact.index, "tested", notice=seen.append).audit()
    assert audit.clean
    assert {one.scope: (one.expected, one.present) for one in audit.scopes} == {
        scope_of(exact.ours): (7, 7),
        scope_of(exact.theirs): (12, 12),
    }
    assert audit.found == dict.fromkeys(KINDS, 0)
    assert audit.position == await exact.catalog.head()
    assert sum(seen) == 19
    last = await exact.catalog.auditing.last("tested")
    assert last is not None
    assert last.found == {}


async def test_what_is_wrong_is_told_by_scope_with_the_documents(exact: Stand) -> None:
    kinds = await corruptions(exact)
    await exact.apply(kinds["a point is missing"][0], kinds["a superseded point"][0], kinds["another space"][0])
    audit = await exact.auditor.audit()
    wrong = {one.scope: one for one in audit.scopes if not one.clean}
    ours, stray = wrong[scope_of(exact.ours)], wrong[replace(scope_of(exact.ours), fingerprint=OTHER_SPACE)]
    assert (dict(ours.found), sorted(ours.uris.values())) == ({"missing": 1, "left_over": 1}, ["a", "b"])
    assert (dict(stray.found), stray.held, stray.expected, stray.present) == ({"wrong_fingerprint": 3}, False, 0, 3)
    assert (audit.points, audit.documents, len(wrong)) == (5, 3, 2)
    last = await exact.catalog.auditing.last("tested")
    assert last is not None
    assert last.found == {"missing": 1, "left_over": 1, "wrong_fingerprint": 3}


class Scanned(ExactIndex):
    """Something happens whenever a scan begins, or to what it gives."""

    before: Callable[[], object] = staticmethod(lambda: None)

    async def scan(self, scope: Scope) -> AsyncIterator[Sequence[Entry]]:
        happening = self.before()
        if asyncio.iscoroutine(happening):
            await happening
        async for batch in super().scan(scope):
            yield batch


@pytest.fixture
async def scanned(catalog: Catalog) -> AsyncIterator[Stand]:
    index = Scanned()
    following = asyncio.create_task(Applier(catalog, index).run())
    yield await stand(catalog, index)
    await end(following)


async def test_documents_that_change_meanwhile_are_left_out_and_counted(scanned: Stand) -> None:
    await scanned.apply((await corruptions(scanned))["another text"][0])
    rounds = iter(range(100))

    async def change() -> None:
        """The index has the new versions, and none of the deleted, before what it has is compared with what was."""
        number = next(rounds)
        await scanned.catalog.publish(scanned.ours, [version("b", [f"b {number}"], revision=f"new {number}")])
        await scanned.catalog.publish(scanned.theirs, [version("e", ["e"] * 9, revision=f"new {number}")])
        await scanned.catalog.delete(scanned.collection, ["d"])
        await scanned.caught_up()

    assert isinstance(scanned.index, Scanned)
    scanned.index.before = change
    audit = await scanned.auditor.audit()
    assert {kind: count for kind, count in audit.found.items() if count} == {"wrong_hash": 1}
    assert audit.moving == 3  # b, d and e; the second scope is looked at when the first has been


async def test_what_changed_before_the_index_came_to_the_head_is_not_left_out(exact: Stand) -> None:
    await exact.apply((await corruptions(exact))["a point is missing"][0])
    await exact.catalog.publish(exact.ours, [version("b", ["b anew"], revision="2")])
    await exact.catalog.compact()
    audit = await exact.auditor.audit()
    assert (audit.points, audit.moving) == (1, 0)


async def test_an_index_that_lags_is_waited_for_and_in_the_end_told(exact: Stand, catalog: Catalog) -> None:
    still = ExactIndex()
    with pytest.raises(IndexUnavailable, match="did not come to position"):
        await Auditor(catalog, still, "tested", patience=0.05).audit()
    following = asyncio.create_task(Applier(catalog, still).run())
    assert (await Auditor(catalog, still, "tested", patience=20).audit()).clean
    await end(following)


async def test_an_index_of_another_catalog_is_left_alone(exact: Stand, catalog: Catalog) -> None:
    other = ExactIndex()
    await other.reset("another catalog")
    stray = replace(await exact.state(exact.ours, "a"), generation=uuid4())
    await other.apply([stray], 10**6)
    with pytest.raises(IndexFailure, match="another catalog"):
        await Auditor(catalog, other, "tested").repair()
    assert await other.count(scope_of(exact.ours)) == 0
    assert len(await other.scopes()) == 1


async def test_an_index_that_begins_anew_meanwhile_is_not_told_to_be_wrong(scanned: Stand) -> None:
    await scanned.caught_up()
    assert isinstance(scanned.index, Scanned)
    scanned.index.before = lambda: scanned.index.reset("")
    with pytest.raises(IndexUnavailable, match="begun anew"):
        await scanned.auditor.repair()


async def test_what_cannot_be_mended_is_told(scanned: Stand) -> None:
    """The index loses a point again and again."""
    lossy = replace(await scanned.state(scanned.ours, "a"), points=())

    async def lose() -> None:
        await scanned.index.apply([lossy], await scanned.index.position())

    assert isinstance(scanned.index, Scanned)
    scanned.index.before = lose
    await scanned.caught_up()
    repair = await scanned.auditor.repair()
    assert not repair.left.clean
    assert repair.left.found["missing"] == 3
    assert repair.logged == 1


async def test_more_than_is_mended_at_once_is_mended_after_it(exact: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "_REMEMBERED", 1)
    monkeypatch.setattr(auditing, "_LOGGED", 1)
    for name in "ab":
        await exact.apply(replace(await exact.state(exact.ours, name), points=(extra(),)))
    repair = await exact.auditor.repair()
    assert repair.found.found == dict.fromkeys(KINDS, 0) | {"missing": 6, "left_over": 2}
    assert repair.left.clean
    assert repair.logged == 2


@given(seed=st.integers(0, 10**9), batch=st.integers(1, 4))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_corruption_is_counted_point_for_point_and_mended(exact: Stand, seed: int, batch: int) -> None:
    rng = random.Random(seed)
    patch = pytest.MonkeyPatch()
    patch.setattr("ragstone.index.exact.BATCH", batch)
    patch.setattr("ragstone.catalog.auditing._BATCH", 5 - batch)
    try:
        states = [await exact.state(made, name) for made in (exact.ours, exact.theirs) for name in "abd"]
        await exact.apply(*(corrupted(state, rng) for state in rng.sample(states, rng.randint(1, 4))))
        expected = await counted(exact)
        repair = await exact.auditor.repair()
        assert {kind: count for kind, count in repair.found.found.items() if count} == expected
        assert repair.left.clean
        assert await counted(exact) == {}
    finally:
        patch.undo()


def corrupted(state: Replacement, rng: random.Random) -> Replacement:
    points = [point for point in state.points if rng.random() < 0.7]
    points = [replace(point, hash=rng.randbytes(16)) if rng.random() < 0.4 else point for point in points]
    points += [replace(extra(), chunk_id=UUID(bytes=rng.randbytes(16))) for _ in range(rng.randint(0, 2))]
    document = UUID(bytes=rng.randbytes(16)) if rng.random() < 0.2 else state.document_id
    return replace(state, document_id=document, points=tuple(points))


async def counted(at: Stand) -> dict[str, int]:
    """How the index differs from the catalog, by comparing all of both at once."""
    changes, _ = await at.catalog.replacements(0, 10**6)
    found: Counter[str] = Counter()
    for made in (at.ours, at.theirs):
        own = [r for r in changes if (r.tenant, r.generation) == (made.tenant, made.id)]
        wanted = {(p.chunk_id, r.document_id): p.hash for r in own for p in r.points}
        present = [e async for batch in at.index.scan(scope_of(made)) for e in batch]
        hashes: dict[tuple[UUID, UUID], list[bytes]] = {}
        for entry in present:
            hashes.setdefault((entry.chunk_id, entry.document_id), []).append(entry.hash)
        found["missing"] += len(wanted.keys() - hashes.keys())
        found["left_over"] += sum(len(each) for key, each in hashes.items() if key not in wanted)
        found["wrong_hash"] += sum(hashes[key] != [digest] for key, digest in wanted.items() if key in hashes)
    return {kind: count for kind, count in found.items() if count}


async def test_beside_publishers_only_what_is_wrong_is_found_and_it_is_mended(exact: Stand) -> None:
    """Documents come, change and go all the while; now and then points of others are lost behind the log's back."""
    catalog, busy = exact.catalog, "xyz"
    writing = True

    async def write(name: str) -> None:
        rng = random.Random(name)
        for n in range(10**6):
            if not writing:
                return
            if rng.random() < 0.2:
                await catalog.delete(exact.collection, [name])
            else:
                lines = [f"{name} {n} {k}" for k in range(rng.randint(1, 4))]
                await catalog.publish(exact.ours, [version(name, lines, revision=f"{n}")])

    writers = [asyncio.create_task(write(name)) for name in busy]
    try:
        wrong = await corruptions(exact)
        for what in ("a point is missing", "a superseded point", "another space"):
            assert await exact.found() == {}
            await exact.index.apply([wrong[what][0]], await exact.index.position())
            repair = await exact.auditor.repair()
            assert {kind: count for kind, count in repair.found.found.items() if count} == wrong[what][1]
            assert repair.left.clean
    finally:
        writing = False
        await asyncio.wait(writers)
    audit = await exact.auditor.audit()
    assert (audit.clean, audit.moving) == (True, 0)
    assert await counted(exact) == {}


async def test_a_generation_that_lives_again_by_then_is_not_let_go(exact: Stand) -> None:
    a = await exact.state(exact.ours, "a")
    await exact.apply(replace(a, generation=exact.gone.id, points=(extra(),)))
    audit = await exact.auditor.audit()
    _, again = await generation(exact.catalog, settings="fixed")
    assert again.id == exact.gone.id
    await exact.catalog.publish(again, [version("a", ["text"], revision="3")])
    await exact.caught_up()
    assert await exact.auditor._drop(audit) == 0
    assert await exact.index.count(scope_of(again)) == 1
    assert await exact.found() == {}
    assert again.fingerprint.digest == FINGERPRINT.digest
