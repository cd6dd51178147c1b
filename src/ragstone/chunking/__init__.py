"""A document → chunks small enough for the embedding model."""

from __future__ import annotations

from ragstone.chunking.base import Chunker
from ragstone.chunking.fixed import Fixed
from ragstone.chunking.structure import Structure
from ragstone.settings import ChunkingSettings
from ragstone.tokens import TokenCounter

__all__ = ["Chunker", "make"]


def make(settings: ChunkingSettings, count: TokenCounter, limit: int) -> Chunker:
    """The chunker that the settings name. `limit` is the most tokens that the embedding model takes."""
    size = min(settings.max_tokens, limit)
    if settings.strategy == "fixed":
        return Fixed(count, size, settings.overlap, settings.prefix)
    return Structure(count, size, settings.overlap, settings.prefix)
