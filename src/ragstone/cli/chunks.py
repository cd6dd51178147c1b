"""`chunks`: how a file is cut, so that a person can see what a strategy does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragstone.cli.context import Json, ensure_model, print_json, run, settings_of
from ragstone.errors import UnreadableDocument
from ragstone.settings import ChunkingSettings, Settings

if TYPE_CHECKING:
    from rich.text import Text

    from ragstone.embedding.base import Embedder
    from ragstone.models import Chunk, Document, Vectors

COLOURS = ("cyan", "green")

Strategy = Literal["structure", "fixed", "sentence", "recursive", "semantic"]
Parent = Literal["none", "section", "window"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A file in chunks."""

    document: Document
    chunks: list[Chunk]
    limit: int  # tokens that a chunk may have: the settings', or the model's where that is less

    @property
    def sizes(self) -> tuple[int, float, int]:
        """The least, the median and the most tokens of a chunk."""
        tokens = [chunk.tokens for chunk in self.chunks]
        return min(tokens), median(tokens), max(tokens)


def chunks(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Any file that can be indexed.")],
    strategy: Annotated[Strategy | None, typer.Option(help="How it is cut.", show_default="settings")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=16, help="Most tokens of a chunk, its prefix included.", show_default="settings")
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(min=0, max=0.49, help="Share repeated in the next one.", show_default="settings")
    ] = None,
    parent: Annotated[
        Parent | None, typer.Option(help="What a prompt gets in a chunk's place.", show_default="settings")
    ] = None,
    json: Json = False,
) -> None:
    """Show the chunks of a file: their text, sizes, pages, headings and parents.

    What is repeated from the chunk before is underlined; the prefix, which is embedded but not stored, is dim. Nothing
    is indexed, and no database is needed.

    Examples: `ragstone chunks handbook.pdf`, `ragstone chunks --strategy semantic --max-tokens 128 notes.md`,
    `ragstone chunks --parent section --json notes.md | jq '.chunks[].parent'`
    """
    settings = settings_of(context)
    options = {"strategy": strategy, "max_tokens": max_tokens, "overlap": overlap, "parent": parent}
    chosen = {name: value for name, value in options.items() if value is not None}
    chunking = settings.chunking.model_copy(update=chosen)
    ensure_model(settings)
    cut = run(_cut(settings, chunking, file))
    if json:
        print_json(_record(file, chunking, cut))
    else:
        _print(chunking, cut)


async def _cut(settings: Settings, chunking: ChunkingSettings, file: Path) -> Cut:
    from ragstone.parsing.isolated import ParserPool
    from ragstone.parts import make_embedder

    data = await asyncio.to_thread(_read, file)
    async with (
        aclosing(ParserPool(settings.parsing, 1)) as parsers,
        aclosing(make_embedder(settings.embedding, settings.cache_dir)) as embedder,
    ):
        document = await parsers.parse(data, file.name)
        return Cut(
            document=document,
            chunks=await _chunked(chunking, embedder, document),
            limit=min(chunking.max_tokens, embedder.max_tokens),
        )


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise UnreadableDocument(f"{file} is a pipe, socket or device", hint="save it as a file first")
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnreadableDocument(f"cannot read {file}: {error.strerror}", hint="see that you may read it") from None


async def _chunked(chunking: ChunkingSettings, embedder: Embedder, document: Document) -> list[Chunk]:
    from ragstone.chunking.make import make_chunker

    loop = asyncio.get_running_loop()

    def embed(texts: Sequence[str]) -> Vectors:
        """For the chunker, which runs in a thread."""
        return asyncio.run_coroutine_threadsafe(embedder.embed(texts, "live"), loop).result()

    chunker = make_chunker(chunking, embedder.count, embedder.max_tokens, embed)
    return await asyncio.to_thread(chunker.chunk, document)


def _record(file: Path, chunking: ChunkingSettings, cut: Cut) -> dict[str, object]:
    """The chunks as programs get them."""
    paths = [cut.document.sections[chunk.section].path for chunk in cut.chunks]
    least, middle, most = cut.sizes
    return {
        "file": file,
        "title": cut.document.title,
        "chunking": chunking.model_dump(mode="json"),
        "chunks": [_fields(chunk, path) for chunk, path in zip(cut.chunks, paths, strict=True)],
        "summary": {"count": len(cut.chunks), "min": least, "median": middle, "max": most, "limit": cut.limit},
    }


def _fields(chunk: Chunk, path: tuple[str, ...]) -> dict[str, object]:
    return {
        "ordinal": chunk.ordinal,
        "tokens": chunk.tokens,
        "start": chunk.start,
        "end": chunk.end,
        "parent": chunk.parent,
        "pages": chunk.pages,
        "path": path,
        "prefix": chunk.prefix,
        "text": chunk.text,
    }


# --- for people -------------------------------------------------------------------------------------------------


def _print(chunking: ChunkingSettings, cut: Cut) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    end = 0
    for chunk, colour in zip(cut.chunks, cycle(COLOURS)):
        repeated = max(0, end - chunk.start)
        console.print(_head(chunk, cut.document.sections[chunk.section].path, repeated))
        console.print(_body(chunk, repeated, colour), end="\n\n")
        end = chunk.end
    least, middle, most = cut.sizes
    console.print(
        f"{len(cut.chunks)} chunks; tokens: min {least}, median {middle:g}, max {most}, limit {cut.limit}; "
        f"{chunking.strategy}, overlap {chunking.overlap:.0%}",
        style="bold",
        markup=False,
    )


def _head(chunk: Chunk, path: tuple[str, ...], repeated: int) -> Text:
    from rich.text import Text

    facts = [f"#{chunk.ordinal}", f"{chunk.tokens} tokens", f"characters {chunk.start}–{chunk.end}"]
    facts += [f"{repeated} repeated"] if repeated else []
    facts += [f"parent {chunk.parent[0]}–{chunk.parent[1]}"] if chunk.parent else []
    facts += ["p. " + "–".join(map(str, dict.fromkeys(chunk.pages)))] if chunk.pages else []
    facts += [" › ".join(path)] if path else []
    return Text("  ".join(facts), style="bold")


def _body(chunk: Chunk, repeated: int, colour: str) -> Text:
    from rich.text import Text

    return Text.assemble(
        (chunk.prefix, "dim"), (chunk.text[:repeated], f"underline {colour}"), (chunk.text[repeated:], colour)
    )
