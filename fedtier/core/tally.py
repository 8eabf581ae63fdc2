"""What one cell adds up over a run: its own link's counts, and what its children report."""

from __future__ import annotations

from dataclasses import replace

from fedtier.core.figures import Q_UNITS_PER_ONE, Figures, LinkFigures, fold
from fedtier.core.intake import IntakeCounts
from fedtier.ids import NodeId, RunId
from fedtier.wire.manifest import UpdateManifest
from fedtier.wire.plan import IDENTITY


class Tally:
    """Counts of a subtree since the run began.

    A child's counters are those of its process and begin at zero with it. So what each report
    adds is its growth since the report before, or all of it where it has not grown.
    """

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._run: RunId | None = None
        self._latest: dict[NodeId, Figures] = {}
        self._below: dict[int, LinkFigures] = {}
        self._own = LinkFigures()

    def open(self, run: RunId) -> None:
        """Go on counting, or begin anew for another run."""
        if run != self._run:
            self._run = run
            self._latest = {}
            self._below = {}
            self._own = LinkFigures()

    def enter(self, child: NodeId, manifest: UpdateManifest) -> Figures:
        """Count an update, once, and give what it reports."""
        figures = Figures.from_json(manifest.figures)
        before = self._latest.get(child, Figures())
        for link, counted in figures.links.items():
            grown = counted.since(before.links.get(link, LinkFigures()))
            self._below[link] = self._below.get(link, LinkFigures()) + grown
        if manifest.figures:  # without any, what the child reported before is the newest still
            self._latest[child] = figures
        trained = manifest.task == "train"
        delta = trained and manifest.weight > 0
        quantized = delta and manifest.codec != IDENTITY.name
        self._own += LinkFigures(
            updates=1,
            deltas=int(delta),
            abstained=int(trained and not delta),
            q_units=round(manifest.q * Q_UNITS_PER_ONE) if quantized else 0,
            q_count=int(quantized),
        )
        return figures

    def lose(self, members: int) -> None:
        """Count members that had not answered when their iteration closed."""
        self._own += LinkFigures(lost=members)

    def figures(self, link: int, counts: IntakeCounts) -> Figures:
        """Links, tiers and rollout of the whole subtree; ``link`` is the cell's own."""
        own = replace(self._own, duplicates=counts.duplicates, late=counts.late)
        latest = fold(self._latest.values())
        below = Figures(
            links=self._below,
            tiers=latest.tiers,
            rollout=latest.rollout,
        )
        return below.with_link(link, own)
