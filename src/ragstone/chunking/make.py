"""The chunker that the settings name."""

from __future__ import annotations

from ragstone.chunking.base import Chunker, Embed
from ragstone.chunking.parents import WithParents
from ragstone.settings import ChunkingSettings
from ragstone.tokens import TokenCounter


def make_chunker(settings: ChunkingSettings, count: TokenCounter, limit: int, embed: Embed) -> Chunker:
    """`limit` is the most tokens that the embedding model takes; a chunk has that many or fewer.

    `embed` is called by the semantic strategy alone, in the thread that calls `chunk`.
    """
    chunker = _strategy(settings, count, min(settings.max_tokens, limit), embed)
    if settings.parent == "none":
        return chunker
    return WithParents(chunker, settings.parent, count, settings.parent_tokens)


def _strategy(settings: ChunkingSettings, count: TokenCounter, max_tokens: int, embed: Embed) -> Chunker:
    match settings.strategy:
        case "fixed":
            from ragstone.chunking.fixed import Fixed

            return Fixed(count, max_tokens, settings.overlap, settings.prefix)
        case "sentence":
            from ragstone.chunking.sentence import Sentence

            return Sentence(count, max_tokens, settings.overlap, settings.prefix)
        case "recursive":
            from ragstone.chunking.recursive import Recursive

            return Recursive(count, max_tokens, settings.overlap, settings.prefix)
        case "semantic":
            from ragstone.chunking.semantic import Semantic

            return Semantic(count, max_tokens, settings.overlap, settings.prefix, settings.percentile, embed)
        case "structure":
            from ragstone.chunking.structure import Structure

            return Structure(count, max_tokens, settings.overlap, settings.prefix)
