"""What to do about a job that failed: the one place that tells permanent failures from transient ones."""

from __future__ import annotations

from random import Random
from typing import Literal, TypeAlias

from ragstone.errors import (
    CatalogUnavailable,
    DocumentError,
    DocumentUnavailable,
    ProviderUnavailable,
    RagstoneError,
    SourceError,
)

FIRST = 2.0
CAP = 600.0
"""Seconds before the first try again, and the most before any."""

OF_THE_CONTENT = frozenset(
    {"unsupported", "empty", "encrypted", "broken", "too_large", "too_costly", "refused_text", "document"}
)
"""Codes of failures that come again as long as the content and the settings are the same."""

Judgement: TypeAlias = Literal["document", "later", "stop"]


def judge(error: RagstoneError) -> Judgement:
    """Whose fault it is: the document's, so that no later try helps; the moment's; or that of the settings.

    After a fault of the settings (a wrong key, a model that is not there) every document would fail.
    """
    match error:
        case DocumentUnavailable() | SourceError() | ProviderUnavailable() | CatalogUnavailable():
            return "later"
        case DocumentError():
            return "document"
        case _:
            return "stop"


def wait(error: RagstoneError, attempt: int, random: Random) -> float:
    """Seconds until the next try after the attempt-th, counted from 1.

    What the other side asked for, or else twice as long each time up to CAP, less a random part of up to a half, so
    that many jobs that failed together do not come back together.
    """
    backoff = min(CAP, FIRST * 2.0 ** min(attempt - 1, 30))
    asked = getattr(error, "retry_after", None) or 0.0
    return float(max(min(asked, CAP), backoff * random.uniform(0.5, 1.0)))
