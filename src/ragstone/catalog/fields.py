"""What a document can be filtered by: its source, title, times, and all that its metadata says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ragstone.models import Fields, Metadata, Scalar

OF_EVERY_DOCUMENT = frozenset(
    ("tenant", "collection", "source", "uri", "title", "media_type", "modified_at", "published_at", "sample")
)
"""Metadata of such a name is filtered by as `metadata.<name>`."""

LONGEST_NAME = 500  # characters of a name; what has a longer one cannot be filtered by


def fields(
    document: UUID,
    *,
    source: str,
    uri: str,
    title: str,
    media_type: str,
    modified_at: datetime | None,
    published_at: datetime,
    metadata: Metadata,
) -> Fields:
    """The values of each field. `tenant` and `collection` are the search's own and not stored.

    `sample` is an even number in [0, 1) that stays the document's own: for drawing samples.
    """
    own: dict[str, tuple[Scalar, ...]] = {
        "source": (source,),
        "uri": (uri,),
        "title": (title,),
        "media_type": (media_type,),
        "published_at": (_iso(published_at),),
        "sample": (int.from_bytes(document.bytes[:6]) / 2**48,),
    }
    if modified_at is not None:
        own["modified_at"] = (_iso(modified_at),)
    return {**own, **of_metadata(metadata)}


def of_metadata(metadata: Metadata) -> Fields:
    """The values of metadata by name; in objects within it, names are joined by dots. Lists of objects are left out."""
    found = {_name(name): values for name, values in _flat(metadata) if len(name) <= LONGEST_NAME}
    return {name: values for name, values in found.items() if values}


def _name(name: str) -> str:
    return f"metadata.{name}" if name in OF_EVERY_DOCUMENT else name


def _flat(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, tuple[Scalar, ...]]]:
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, _scalars(value if isinstance(value, list | tuple) else [value])


def _scalars(values: Sequence[Any]) -> tuple[Scalar, ...]:
    return tuple(value for value in values if isinstance(value, str | int | float | bool))


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()
