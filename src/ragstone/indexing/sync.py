"""One pass over a source: list it, compare with the catalog, enqueue what changed, delete what is gone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from ragstone.catalog.catalog import Catalog
from ragstone.catalog.queue import Job, Lane
from ragstone.errors import FingerprintMismatch, SourceError
from ragstone.indexing.pipeline import is_folder
from ragstone.indexing.push import Push
from ragstone.indexing.report import Report
from ragstone.indexing.retry import OF_THE_CONTENT
from ragstone.models import Collection, DocumentState, Failure, Generation, Item, Skip
from ragstone.sources.base import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a pass saw: what the source has, and what every generation that is written to has of it."""

    seen: int
    items: Sequence[Item]
    skips: Sequence[Skip]
    known: Mapping[UUID, Mapping[str, DocumentState]]  # by generation, then by URI
    failures: Mapping[str, Failure]

    def changed(self, item: Item) -> bool:
        """Whether a generation does not hold the listed revision."""
        states = (documents.get(item.uri) for documents in self.known.values())
        return item.revision is None or any(state is None or state.revision != item.revision for state in states)

    def indexed(self, uri: str) -> DocumentState | None:
        """What the first generation that has the document knows of it."""
        return next((documents[uri] for documents in self.known.values() if uri in documents), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """Passes over sources of one collection. `digest` stands for the settings that documents are read with."""

    catalog: Catalog
    collection: Collection
    digest: str

    async def scan(self, source: Source, report: Report, *, allow_empty: bool = False) -> list[str]:
        """Enqueue what is new or changed, delete what is gone; gives the URIs that were enqueued.

        Raises SourceError when the source as a whole cannot be read, or lists nothing at all where it had something
        (a mistake, unless `allow_empty`): nothing is deleted then. Raises FingerprintMismatch when no generation may be
        written to. A second pass over the same source, by any process, waits for the first.
        """
        async with self.catalog.alone(self.collection, source.name):
            listing = await self._list(source, report, allow_empty)
            jobs = [self._job(source, item, listing) for item in listing.items if self._due(item, listing)]
            await self.catalog.queue.add(self.collection, jobs)
            await self._note_skips(source, listing)
            await self._claim(source, listing)
            await self._delete_gone(source, listing, report)
            await self.catalog.record_source(self.collection, source.name, source.prefix)
        report.unchanged += sum(not listing.changed(item) for item in listing.items)
        return [job.uri for job in jobs]

    async def _list(self, source: Source, report: Report, allow_empty: bool) -> Listing:
        seen = await self.catalog.moment()
        known = {g.id: await self._known(source, g) for g in await self._writable()}
        start = time.perf_counter()
        found = [one async for one in source.items()]
        report.spent("list", time.perf_counter() - start)
        report.listed += len(found)
        may_be_empty = allow_empty or isinstance(source, Push)  # what was sent here is known: it is no mistake
        if not found and not may_be_empty and (indexed := {uri for documents in known.values() for uri in documents}):
            raise SourceError(
                f"{source.name} lists nothing, but {len(indexed)} of its documents are indexed: nothing was changed",
                hint="if they are really gone, run again with --allow-empty",
            )
        return Listing(
            seen=seen,
            items=[one for one in found if isinstance(one, Item)],
            skips=[one for one in found if isinstance(one, Skip)],
            known=known,
            failures={f.uri: f for f in await self.catalog.failures(self.collection, source.name)},
        )

    async def _writable(self) -> list[Generation]:
        generations = await self.catalog.generations(self.collection)
        writable = [g for g in generations if g.quarantine is None]
        if generations and not writable:
            raise FingerprintMismatch(
                f"nothing may be written, all generations are in quarantine: {generations[0].quarantine}",
                hint="bring the model back (`ragstone drift` checks), or `ragstone reindex` with another",
            )
        return writable

    async def _known(self, source: Source, generation: Generation) -> dict[str, DocumentState]:
        """What is indexed under the source's prefix. No folder is a document's URI, and may start others."""
        known = await self.catalog.states(generation, source.prefix)
        return {uri: state for uri, state in known.items() if is_folder(source) or uri == source.prefix}

    def _due(self, item: Item, listing: Listing) -> bool:
        """Changed, and not known to fail as it did before."""
        failure = listing.failures.get(item.uri)
        if failure is None or failure.revision != item.revision or item.revision is None:
            return listing.changed(item)
        fixed = failure.dropped or (failure.code in OF_THE_CONTENT and failure.settings == self.digest)
        return listing.changed(item) and not fixed

    def _job(self, source: Source, item: Item, listing: Listing) -> Job:
        """A change of what is indexed goes before what is new: to all generations, or to one that is being built."""
        held = [documents.get(item.uri) for documents in listing.known.values()]
        change = any(state is not None and state.revision != item.revision for state in held)
        unknown = item.revision is None and None in held
        lane: Lane = "live" if change and not unknown else "backfill"
        return Job(source=source.name, uri=item.uri, lane=lane)

    async def _note_skips(self, source: Source, listing: Listing) -> None:
        """Failures hold all that is not indexed, what a listing passes over included, and nothing that is gone."""
        noted = {(f.uri, f.code, f.reason) for f in listing.failures.values()}
        new = [
            Failure(
                uri=s.uri,
                source=source.name,
                revision=None,
                settings=self.digest,
                code=s.code,
                reason=s.reason,
                hint=s.hint,
            )
            for s in listing.skips
            if (s.uri, s.code, s.reason) not in noted
        ]
        await self.catalog.record_failures(self.collection, new)
        amiss = {item.uri for item in listing.items if listing.changed(item)}.union(s.uri for s in listing.skips)
        await self.catalog.clear_failures(self.collection, sorted(listing.failures.keys() - amiss))

    async def _claim(self, source: Source, listing: Listing) -> None:
        """What a folder lists is its own from now on, and of no other source that listed it before."""
        states = ((item.uri, listing.indexed(item.uri)) for item in listing.items)
        others = [uri for uri, state in states if state and state.source != source.name]
        if others and is_folder(source):
            await self.catalog.claim(self.collection, source.name, others)

    async def _delete_gone(self, source: Source, listing: Listing, report: Report) -> None:
        """The source's own documents that it did not list. What could not be read is not gone, nor what lies in it."""
        unread = tuple(skip.uri for skip in listing.skips)
        folders = tuple(uri for uri in unread if uri.endswith("/"))
        listed = {item.uri for item in listing.items}.union(unread)
        own = {u for docs in listing.known.values() for u, state in docs.items() if state.source == source.name}
        gone = sorted(uri for uri in own if uri not in listed and not uri.startswith(folders))
        if gone:
            report.position = await self.catalog.delete(self.collection, gone, listing.seen)
            report.deleted += len(gone)
