"""How far global models got: of each of the newest, how many devices serve it and how many do not.

A device judges a global model on its own hold-out before its application sees it. What it found
travels up as two counts a version, and folds like all figures: in any order, the same sum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from fedtier.core.counts import FIGURE_MAX, capped
from fedtier.errors import WireError
from fedtier.wire.fields import Fields
from fedtier.wire.head import Head

VERSIONS_MAX = 3
"""Newest versions of a run that are reported on, whatever the fleet: a manifest is small."""

_DIGITS = 12  # of a model's digest
_SHORT_MODEL = re.compile(rf"[0-9a-f]{{{_DIGITS}}}")
_NUMBER_MAX = 2**32 - 1  # of an epoch and of a round
_WIDTH = 5


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A global model of a run. The order is that of time: an epoch begins an older state anew."""

    epoch: int
    round: int  # it opens this round, and is what the rounds before made
    model: str  # the first digits of its digest

    @classmethod
    def of(cls, head: Head) -> Version:
        """The version of a head that opens a round."""
        return cls(head.epoch, head.path.round, head.model[:_DIGITS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """How many devices accepted one version, and how many refused it."""

    accepted: int = 0
    refused: int = 0

    def __add__(self, other: Verdicts) -> Verdicts:
        return Verdicts(
            accepted=capped(self.accepted + other.accepted),
            refused=capped(self.refused + other.refused),
        )


@dataclass(frozen=True, slots=True)
class Rollout:
    """The verdicts on the newest versions.

    A version that is left out of a part of a sum has ``VERSIONS_MAX`` newer ones in that part, and
    so in the whole: what a sum does tell is exact, in whatever order it was made.
    """

    versions: Mapping[Version, Verdicts] = field(default_factory=dict)  # oldest first

    def __add__(self, other: Rollout) -> Rollout:
        if not other.versions:
            return self
        summed = dict(self.versions)
        for version, verdicts in other.versions.items():
            summed[version] = summed.get(version, Verdicts()) + verdicts
        return Rollout({version: summed[version] for version in sorted(summed)[-VERSIONS_MAX:]})

    def to_json(self) -> list[int | str]:
        """As it stands in figures: five entries a version, oldest first."""
        return [
            entry
            for version, verdicts in self.versions.items()
            for entry in (
                version.epoch, version.round, version.model, verdicts.accepted, verdicts.refused,
            )
        ]  # fmt: skip

    @classmethod
    def from_fields(cls, fields: Fields, name: str) -> Rollout:
        """Read it from figures.

        Raises:
            WireError: If it is not what ``to_json`` writes.
        """
        flat = fields.listing(name, items_max=_WIDTH * VERSIONS_MAX)
        if len(flat) % _WIDTH:
            raise WireError(f"figures: {name!r} does not have {_WIDTH} entries a version")
        rows = [_row(flat[start : start + _WIDTH]) for start in range(0, len(flat), _WIDTH)]
        if any(before[0] >= after[0] for before, after in pairwise(rows)):
            raise WireError(f"figures: versions of {name!r} are not in their order")
        return cls(dict(rows))


def _row(entries: list[Any]) -> tuple[Version, Verdicts]:
    names = ("epoch", "round", "model", "accepted", "refused")
    fields = Fields(dict(zip(names, entries, strict=True)), what="figures: a version")
    model = fields.text("model", characters_max=_DIGITS)
    if not _SHORT_MODEL.fullmatch(model):
        raise WireError(f"figures: a version's model is not {_DIGITS} hexadecimal digits")
    version = Version(
        fields.integer("epoch", 0, _NUMBER_MAX), fields.integer("round", 0, _NUMBER_MAX), model
    )
    return version, Verdicts(
        accepted=fields.integer("accepted", 0, FIGURE_MAX),
        refused=fields.integer("refused", 0, FIGURE_MAX),
    )
