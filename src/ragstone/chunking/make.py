"""The chunker that the settings name."""

from __future__ import annotations

from ragstone.chunking.base import Chunker
from ragstone.chunking.fixed import Fixed
from ragstone.chunking.structure import Structure
from ragstone.settings import ChunkingSettings
from ragstone.tokens import TokenCounter


def make_chunker(settings: ChunkingSettings, count: TokenCounter, limit: int) -> Chunker:
    """`limit` is the most tokens that the embedding model takes; a chunk has that many or fewer."""
    strategy = Fixed if settings.strategy == "fixed" else Structure
    return strategy(count, min(settings.max_tokens, limit), settings.overlap, settings.prefix)
