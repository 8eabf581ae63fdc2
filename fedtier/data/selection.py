"""What a data table selects, known without opening a file: data are checked where they are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What one table selects.

    Attributes:
        origins: Where the data come from, each from coarse to fine with ``/`` between, such as
            ``subject-3/left`` or a path. Two tables of one source share data where an origin of
            one is an origin of the other or lies below one.
        paths: The files and directories that must be there when the data are read.
        traits: Names of the traits that every recording will have; None if they cannot be told.
        key: The key of the table that selects, for errors.
        channels: Values in a row of every recording; None if they cannot be told.
    """

    origins: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    traits: frozenset[str] | None = None
    key: str = ""
    channels: int | None = None


def find_shared(origins: Sequence[str], holders: Mapping[str, T]) -> tuple[str, T] | None:
    """The first origin that somebody else holds too, the finer of the two, and who holds it.

    Args:
        origins: As in a selection.
        holders: Other origins of the same source, each with its holder.
    """
    exact = {PurePosixPath(origin): (origin, holder) for origin, holder in holders.items()}
    above: dict[PurePosixPath, tuple[str, T]] = {}
    for place, held in exact.items():
        for coarser in (place, *place.parents):
            above.setdefault(coarser, held)
    for origin in origins:
        place = PurePosixPath(origin)
        if place in above:
            return above[place]
        for coarser in place.parents:
            if coarser in exact:
                return origin, exact[coarser][1]
    return None
