"""What keeps vectors of two lengths out of one space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ragstone.errors import WrongDimensions
from ragstone.models import Replacement


def refuse_wrong(replacements: Iterable[Replacement], spaces: Mapping[str, int]) -> None:
    """Raises WrongDimensions for a vector of another length than its space has, or than the replacement says."""
    known = dict(spaces)
    for replacement in replacements:
        for point in replacement.points:
            wanted = known.setdefault(replacement.fingerprint, replacement.dimensions)
            if not len(point.vector) == replacement.dimensions == wanted:
                raise wrong(len(point.vector), wanted)


def wrong(length: int, wanted: int) -> WrongDimensions:
    return WrongDimensions(
        f"a vector has {length} dimensions, those of its space have {wanted}",
        hint="vectors of another length belong in a space, and so in a generation, of their own",
    )
