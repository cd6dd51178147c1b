"""What every provider asks of a text: that it is Unicode, and no longer than the model can take."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ragstone.embedding.base import Lane
from ragstone.errors import ProviderError, TextsRefused
from ragstone.models import Vectors
from ragstone.tokens import TokenCounter

Outcome: TypeAlias = npt.NDArray[np.float32] | ProviderError
"""What became of one text: its vector, or why there is none."""

_log = logging.getLogger(__name__)


def fit(text: str, lane: Lane, max_tokens: int, count: TokenCounter) -> str:
    """The text, when it has at most `max_tokens` tokens.

    A longer question is cut at the end, with a warning: its start still says what is asked. A longer document
    text raises ProviderError, for what is cut off could never be found.
    """
    tokens = count(text)
    if tokens <= max_tokens:
        return text
    if lane != "query":
        raise ProviderError(
            f"a text of {tokens} tokens is over the model's limit of {max_tokens}; it starts with {text[:60]!r}",
            hint="lower chunking.max_tokens",
        )
    _log.warning("a question of %d tokens was cut to the model's limit of %d", tokens, max_tokens)
    return text[: bisect_right(range(1, len(text) + 1), max_tokens, key=lambda end: count(text[:end]))]


def well_formed(text: str) -> str:
    """The text itself. Raises ProviderError when it holds half a surrogate pair, which no model can be given."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ProviderError(
            f"a text holds half a surrogate pair at character {error.start}; it starts with {text[:60]!r}",
            hint="such a text was decoded wrongly where it came from",
        ) from None
    return text


def gathered(outcomes: Sequence[Outcome], dimensions: int) -> Vectors:
    """The vectors as a matrix. Raises TextsRefused when there are texts without one."""
    refused = {place: outcome for place, outcome in enumerate(outcomes) if isinstance(outcome, ProviderError)}
    vectors = np.full((len(outcomes), dimensions), np.nan, np.float32)
    for place, outcome in enumerate(outcomes):
        if not isinstance(outcome, ProviderError):
            vectors[place] = outcome
    if refused:
        first = next(iter(refused.values()))
        message = str(first) if len(outcomes) == 1 else f"{len(refused)} of {len(outcomes)} texts: {first}"
        reasons = {place: str(error) for place, error in refused.items()}
        raise TextsRefused(message, hint=first.hint, refused=reasons, vectors=vectors)
    return vectors
