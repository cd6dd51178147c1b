"""Whether an index holds what the catalog says, and mending what it does not.

Both are read in the order of chunk ids and laid side by side, a piece at a time. An index follows a catalog that is
written to meanwhile, so documents that have changed since a look began are left out of it: what is then different of
the others is wrong.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args
from uuid import UUID

from ragstone.catalog.catalog import Catalog
from ragstone.errors import IndexFailure, IndexUnavailable
from ragstone.index.base import Index
from ragstone.models import Entry, Scope

Kind = Literal["missing", "left_over", "wrong_hash", "wrong_fingerprint", "wrong_tenant"]
KINDS: tuple[Kind, ...] = get_args(Kind)

PATIENCE = 600.0
"""Seconds that an index may take to come to where the catalog is."""

NAMED = 20
"""Documents of a scope that a report names by their URIs."""

_REMEMBERED = 100_000  # documents of a scope that one round of a repair mends
_LOGGED = 5_000  # documents that are put into the change log together

Notice = Callable[[int], None]
"""Is told again and again of how many more points were compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeAudit:
    """How the points of one scope compare with the catalog's at a position."""

    scope: Scope
    held: bool  # by the catalog; else nothing of it should be in the index
    position: int
    expected: int
    present: int
    found: Mapping[str, int]  # how many points are wrong, by how
    documents: frozenset[UUID]  # whose points they are, up to a limit
    uris: Mapping[UUID, str]  # of some of those
    moving: int  # documents that changed meanwhile, and were left out

    @property
    def clean(self) -> bool:
        return not self.found


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """How an index as a whole compares with the catalog."""

    scopes: Sequence[ScopeAudit]
    seconds: float

    @property
    def clean(self) -> bool:
        return all(one.clean for one in self.scopes)

    @property
    def found(self) -> dict[str, int]:
        """How many points are wrong, for every kind."""
        return {kind: sum(one.found.get(kind, 0) for one in self.scopes) for kind in KINDS}

    @property
    def points(self) -> int:
        """How many points are wrong."""
        return sum(self.found.values())

    @property
    def documents(self) -> int:
        """How many documents they are of."""
        return sum(len(one.documents) for one in self.scopes)

    @property
    def moving(self) -> int:
        """How many documents were left out, for they changed meanwhile."""
        return sum(one.moving for one in self.scopes)

    @property
    def position(self) -> int:
        """The position that the index had reached at least."""
        return min((one.position for one in self.scopes), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What a repair found and did."""

    found: Audit
    left: Audit  # what is still wrong after it
    logged: int  # documents that indexes were told to write again
    dropped: int  # scopes that were let go


class Auditor:
    """Compares one index with the catalog. `name` is what the catalog remembers the outcome under."""

    def __init__(
        self, catalog: Catalog, index: Index, name: str, *, patience: float = PATIENCE, notice: Notice | None = None
    ) -> None:
        self._catalog = catalog
        self._index = index
        self._name = name
        self._patience = patience
        self._notice = notice or (lambda points: None)

    async def audit(self) -> Audit:
        """Compare every scope of every tenant.

        Raises IndexUnavailable when the index does not come to where the catalog is, or begins anew meanwhile.
        """
        start = time.monotonic()
        await self._refuse_another()
        await self._caught_up()
        present = await self._index.scopes()  # before the catalog's, lest a new one look like a stray
        held = await self._catalog.auditing.scopes()
        strays = sorted(set(present).difference(held), key=lambda scope: (scope.tenant, scope.generation.bytes))
        scopes = [await self._compare(scope, None) for scope in held]
        scopes += [await self._compare(scope, _kind(scope, held)) for scope in strays]
        audit = Audit(scopes=scopes, seconds=time.monotonic() - start)
        await self._catalog.auditing.record(self._name, {kind: count for kind, count in audit.found.items() if count})
        return audit

    async def repair(self) -> Repair:
        """Mend what an audit finds, as far as can be. Safe beside whatever else writes to catalog and index."""
        found = left = await self.audit()
        logged = dropped = 0
        while not left.clean:
            logged += await self._log(left)
            dropped += await self._drop(left)
            before, left = left, await self.audit()
            if left.points >= before.points:
                break
        return Repair(found=found, left=left, logged=logged, dropped=dropped)

    # --- looking ------------------------------------------------------------------------------------------------

    async def _compare(self, scope: Scope, stray: Kind | None) -> ScopeAudit:
        """`stray`: what is wrong with whatever is there, where the catalog does not hold the scope."""
        look = _Look(scope=scope, stray=stray, position=await self._caught_up())
        async with self._catalog.auditing.expected(scope) as expected:
            async for wanted, present in _side_by_side(expected, self._index.scan(scope)):
                look.expected += len(wanted)
                look.present += len(present)
                await self._judge(look, list(_differences(wanted, present)))
                self._notice(max(len(wanted), len(present)))
        return ScopeAudit(
            scope=scope,
            held=stray is None,
            position=look.position,
            expected=look.expected,
            present=look.present,
            found=dict(look.found),
            documents=frozenset(look.documents),
            uris=await self._catalog.auditing.uris(sorted(look.documents)[:NAMED]) if look.documents else {},
            moving=await self._catalog.auditing.count_changed(scope, look.position),
        )

    async def _judge(self, look: _Look, differences: Sequence[tuple[Kind, UUID]]) -> None:
        """Count the differences that are none of a document which has changed since the look began.

        Both sides were read by now. So the index had everything up to the look's position, and what the catalog has
        changed later is in its log.
        """
        if not differences:
            return
        if await self._index.position() < look.position:
            raise IndexUnavailable("the index was begun anew during the audit", hint="audit it when it has caught up")
        auditing = self._catalog.auditing
        moving = await auditing.changed(look.scope, {document for _, document in differences}, look.position)
        strays = {document for kind, document in differences if kind == "left_over"}
        foreign = await auditing.foreign(look.scope.tenant, strays) if strays else set()
        for kind, document in differences:
            if document not in moving:
                look.add("wrong_tenant" if kind == "left_over" and document in foreign else kind, document)

    async def _caught_up(self) -> int:
        """The position of the catalog's head, once the index has reached it."""
        position = await self._catalog.head()
        if not await self._index.wait(position, self._patience):
            raise IndexUnavailable(
                f"the index did not come to position {position} of the catalog in {self._patience:.0f} s",
                hint="`ragstone index status` shows how far it is; its log, or that of `serve` or `worker`, tells why",
            )
        return position

    async def _refuse_another(self) -> None:
        if await self._index.source() not in ("", await self._catalog.identity()):
            raise IndexFailure(
                "the index follows another catalog", hint="give each catalog an index of its own, in [index] url"
            )

    # --- mending ------------------------------------------------------------------------------------------------

    async def _log(self, audit: Audit) -> int:
        """A document that comes in the change log is written as it should be, and what else is of it goes."""
        wrong = [one for one in audit.scopes if one.held and not one.clean]
        for one in wrong:
            documents = sorted(one.documents)
            for start in range(0, len(documents), _LOGGED):
                await self._catalog.auditing.log(one.scope, documents[start : start + _LOGGED])
        return sum(len(one.documents) for one in wrong)

    async def _drop(self, audit: Audit) -> int:
        """A scope that the catalog does not hold may have become one of its own since it was looked at."""
        dropped = 0
        for one in audit.scopes:
            if not one.held and not one.clean:
                async with self._catalog.auditing.unheld(one.scope) as unheld:
                    if unheld:
                        await self._index.drop(one.scope)
                        dropped += 1
        return dropped


@dataclass(slots=True, kw_only=True)
class _Look:
    """What was seen so far of a scope."""

    scope: Scope
    stray: Kind | None
    position: int
    expected: int = 0
    present: int = 0
    found: Counter[str] = field(default_factory=Counter)
    documents: set[UUID] = field(default_factory=set)

    def add(self, kind: Kind, document: UUID) -> None:
        self.found[self.stray or kind] += 1
        if len(self.documents) < _REMEMBERED:
            self.documents.add(document)


def _kind(scope: Scope, held: Iterable[Scope]) -> Kind:
    """What is wrong with all points of a scope that the catalog does not hold."""
    tenants = {other.tenant for other in held if other.generation == scope.generation}
    if scope.tenant in tenants:
        return "wrong_fingerprint"
    return "wrong_tenant" if tenants else "left_over"


def _differences(wanted: Sequence[Entry], present: Sequence[Entry]) -> Iterator[tuple[Kind, UUID]]:
    """Every point of a piece that is not as it should be, with its document. A chunk is always of the same one."""
    missing = {(entry.chunk_id, entry.document_id): entry.hash for entry in wanted}
    for entry in present:
        expected = missing.pop((entry.chunk_id, entry.document_id), None)
        if expected is None:
            yield "left_over", entry.document_id
        elif expected != entry.hash:
            yield "wrong_hash", entry.document_id
    for _, document in missing:
        yield "missing", document


class _Ahead:
    """Batches of entries, of which the last one read is kept until all of it was taken."""

    def __init__(self, batches: AsyncIterator[Sequence[Entry]]) -> None:
        self._batches = batches
        self._read: Sequence[Entry] = ()

    async def last(self) -> UUID | None:
        """The last id that is at hand; None at the end."""
        while not self._read:
            batch = await anext(self._batches, None)
            if batch is None:
                return None
            self._read = batch
        return self._read[-1].chunk_id

    def take(self, last: UUID) -> Sequence[Entry]:
        """What is at hand up to an id."""
        end = bisect_right(self._read, last, key=lambda entry: entry.chunk_id)
        taken, self._read = self._read[:end], self._read[end:]
        return taken


async def _side_by_side(
    wanted: AsyncIterator[Sequence[Entry]], present: AsyncIterator[Sequence[Entry]]
) -> AsyncIterator[tuple[Sequence[Entry], Sequence[Entry]]]:
    """Two streams in the order of ids, in pieces that end at the same id."""
    left, right = _Ahead(wanted), _Ahead(present)
    while lasts := [last for last in (await left.last(), await right.last()) if last is not None]:
        yield left.take(min(lasts)), right.take(min(lasts))
