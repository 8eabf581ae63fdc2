"""A device's own verdicts on the newest global models of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fedtier.core.rollout import VERSIONS_MAX, Rollout, Verdicts, Version
from fedtier.ids import RunId


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was decided, by version; another run begins anew."""

    run: RunId | None = None
    verdicts: dict[Version, bool] = field(default_factory=dict)  # True: accepted; oldest first

    def verdict(self, run: RunId, version: Version) -> bool | None:
        """Whether a version was accepted; None if it was not judged."""
        return self.verdicts.get(version) if run == self.run else None

    def with_verdict(self, run: RunId, version: Version, *, accepted: bool) -> Ledger:
        """The ledger with one verdict more, of the newest versions alone."""
        known = self.verdicts if run == self.run else {}
        items: Iterable[tuple[Version, bool]] = sorted({**known, version: accepted}.items())
        return Ledger(run, dict(list(items)[-VERSIONS_MAX:]))

    def rollout(self, run: RunId) -> Rollout:
        """As figures carry it."""
        if run != self.run:
            return Rollout()
        return Rollout(
            {
                version: Verdicts(accepted=int(accepted), refused=int(not accepted))
                for version, accepted in self.verdicts.items()
            }
        )
