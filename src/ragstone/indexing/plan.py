"""What a reindex with the present settings would have to do: counted where that is cheap, estimated where it is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ragstone.catalog.catalog import Catalog
from ragstone.errors import EmptyDocument, RagstoneError
from ragstone.indexing.pipeline import Parser, Recipe
from ragstone.indexing.report import Progress, Report
from ragstone.models import Generation, Item, Skip
from ragstone.sources.base import Source

TIMED_TEXTS = 16
"""Texts that are embedded to see how fast it goes; none at an endpoint, where it would cost money."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Figures of chunks and tokens are estimates from the sampled documents, exact when all were sampled."""

    documents: int  # that the sources list
    unchanged: int  # held by a generation of the present settings already
    to_index: int
    skipped: int  # what the listing passes over
    sampled: int
    failed: int  # of the sampled: cannot be read
    chunks: int
    embedded: int  # chunks to embed; the others have a vector already
    tokens: int  # to embed
    seconds: float | None  # of embedding; None at an endpoint
    money: float  # by the model's price

    @property
    def reused(self) -> int:
        return self.chunks - self.embedded


@dataclass(slots=True, kw_only=True)
class _Sample:
    documents: int = 0
    failed: int = 0
    chunks: int = 0
    seconds: float = 0.0  # parsing and chunking
    new: dict[str, int] = field(default_factory=dict)  # tokens by text, of texts without a vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """`present` is the generation of the present settings, where there is one; `recipe` makes what would be in it."""

    catalog: Catalog
    parser: Parser
    recipe: Recipe
    present: Generation | None
    max_bytes: int

    async def plan(self, sources: Sequence[Source], sample: int, progress: Progress) -> Plan:
        """List all sources, and read `sample` documents of those to index. Raises SourceError, ProviderError."""
        known = await self.catalog.states(self.present) if self.present else {}
        report = Report()
        due: list[tuple[Source, Item]] = []
        for source in sources:
            async for found in source.items():
                report.listed += 1
                if isinstance(found, Skip):
                    report.skipped.append(found)
                elif (state := known.get(found.uri)) and found.revision == state.revision:
                    report.unchanged += 1
                else:
                    due.append((source, found))
        progress(report)
        read = await self._read(_spread(due, sample), report, progress)
        return await self._estimate(report, len(due), read)

    async def _read(self, chosen: Sequence[tuple[Source, Item]], report: Report, progress: Progress) -> _Sample:
        read = _Sample()
        for source, item in chosen:
            start = time.perf_counter()
            try:
                await self._read_one(source, item, read)
            except RagstoneError:
                read.failed += 1
            read.documents += 1
            read.seconds += time.perf_counter() - start
            report.touched = read.documents
            progress(report)
        return read

    async def _read_one(self, source: Source, item: Item, read: _Sample) -> None:
        fetched = await source.fetch(item, self.max_bytes)
        assert fetched is not None  # no revision was given that it could still have
        document = await self.parser.parse(fetched.data, item.name, fetched.charset)
        chunks = await asyncio.to_thread(self.recipe.chunker.chunk, document)
        if not chunks:
            raise EmptyDocument("there is no text in it")
        tokens = {chunk.embedded: chunk.tokens for chunk in chunks}
        known = await self.catalog.known_vectors(self.recipe.generation, list(tokens))
        read.chunks += len(chunks)
        read.new |= {text: size for text, size in tokens.items() if text not in known}

    async def _estimate(self, report: Report, due: int, read: _Sample) -> Plan:
        scale = due / read.documents if read.documents else 0.0
        tokens = round(scale * sum(read.new.values()))
        return Plan(
            documents=report.listed - len(report.skipped),
            unchanged=report.unchanged,
            to_index=due,
            skipped=len(report.skipped),
            sampled=read.documents,
            failed=read.failed,
            chunks=round(scale * read.chunks),
            embedded=round(scale * len(read.new)),
            tokens=tokens,
            seconds=await self._seconds(read, tokens, scale),
            money=tokens / 1e6 * self.recipe.embedder.price,
        )

    async def _seconds(self, read: _Sample, tokens: int, scale: float) -> float | None:
        """Reading as long as the sample took, embedding as fast as a few of its texts went; one does not add to the
        other where the processor is not what both wait for, so this is an upper estimate."""
        if self.recipe.embedder.fingerprint.spec.get("provider") != "local":
            return None
        few = list(read.new)[:: max(1, len(read.new) // TIMED_TEXTS)][:TIMED_TEXTS]
        if not few:
            return scale * read.seconds
        await self.recipe.embedder.embed(few[:1], "backfill")  # loads the model
        start = time.perf_counter()
        await self.recipe.embedder.embed(few, "backfill")
        speed = sum(read.new[text] for text in few) / (time.perf_counter() - start)
        return scale * read.seconds + tokens / speed


def _spread(due: Sequence[tuple[Source, Item]], sample: int) -> Sequence[tuple[Source, Item]]:
    """At most `sample` of them, evenly spread over the listing."""
    return due if len(due) <= sample else [due[place * len(due) // sample] for place in range(sample)]
