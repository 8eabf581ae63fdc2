"""Figures that ride in update manifests and fold on their way up, whatever the order.

Everything is an integer: sums and maxima of integers do not depend on who came first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, TypeVar

from fedtier.core.counts import FIGURE_MAX, capped
from fedtier.core.measured import Measured
from fedtier.core.rollout import Rollout
from fedtier.errors import WireError
from fedtier.ids import NodeId, is_node_id
from fedtier.limits import LOSS_UNITS_PER_NAT, TIERS_MAX
from fedtier.wire.fields import Fields, to_json

Q_UNITS_PER_ONE = 2**20
"""Relative quantization errors are summed in units of 2^-20."""

FIGURES_BYTES_MAX = 2765
"""Of the 3584 bytes of a manifest: the rest of one that carries figures has at most 819."""

_BINS = 101
_F = TypeVar("_F", "LinkFigures", "TierFigures")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFigures:
    """One link of the tree since the run began, over all its senders; all sums."""

    updates: int = 0  # accepted
    deltas: int = 0  # of these, answers to `train` with one
    abstained: int = 0  # and without
    duplicates: int = 0  # offers of an update already held
    late: int = 0  # offers for an iteration no longer open
    lost: int = 0  # members that had not answered when their iteration closed
    bytes_up: int = 0  # what the children's sockets sent
    bytes_down: int = 0  # and received, so a broadcast to four children counts four times
    q_units: int = 0  # exact relative errors of the deltas that were quantized, in 2^-20
    q_count: int = 0  # how many were: in some rounds of a pilot none is
    micros: int = 0  # from the first offer to `accepted`

    def __add__(self, other: LinkFigures) -> LinkFigures:
        pairs = zip(_LINK_NAMES, _link_values(self), _link_values(other), strict=True)
        return LinkFigures(**{name: capped(a + b) for name, a, b in pairs})

    def since(self, before: LinkFigures) -> LinkFigures:
        """What was counted after ``before``; a counter that has fallen began again at zero."""
        pairs = zip(_LINK_NAMES, _link_values(self), _link_values(before), strict=True)
        return LinkFigures(**{name: a - b if a >= b else a for name, a, b in pairs})


@dataclass(frozen=True, slots=True, kw_only=True)
class TierFigures:
    """The processes of one tier: sums, and the largest."""

    nodes: int = 0
    peak_rss_kib_sum: int = 0
    peak_rss_kib_max: int = 0
    cpu_ms_sum: int = 0
    cpu_ms_max: int = 0

    def __add__(self, other: TierFigures) -> TierFigures:
        return TierFigures(
            nodes=capped(self.nodes + other.nodes),
            peak_rss_kib_sum=capped(self.peak_rss_kib_sum + other.peak_rss_kib_sum),
            peak_rss_kib_max=max(self.peak_rss_kib_max, other.peak_rss_kib_max),
            cpu_ms_sum=capped(self.cpu_ms_sum + other.cpu_ms_sum),
            cpu_ms_max=max(self.cpu_ms_max, other.cpu_ms_max),
        )


_LINK_NAMES = tuple(f.name for f in fields(LinkFigures))
_TIER_NAMES = tuple(f.name for f in fields(TierFigures))
_link_values: Callable[[LinkFigures], tuple[int, ...]] = attrgetter(*_LINK_NAMES)
_tier_values: Callable[[TierFigures], tuple[int, ...]] = attrgetter(*_TIER_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How well one model does on the hold-outs of many devices.

    ``histogram`` counts devices by accuracy in whole hundredths, rounded down; the worst device
    is the one with the lowest accuracy, by name where two are equal.
    """

    examples: int = 0
    correct: int = 0
    loss_units: int = 0  # summed losses in 2^-20
    judged: int = 0  # answers that are right or wrong; the examples, where each is one answer
    histogram: tuple[tuple[int, int], ...] = ()  # (hundredths, devices), ascending
    worst: tuple[int, int, str] | None = None  # correct, judged, device

    @classmethod
    def of_device(
        cls,
        node: NodeId,
        *,
        examples: int,
        correct: int,
        loss_units: int,
        judged: int | None = None,
    ) -> Scores:
        """The score of one device on its own hold-out; nothing where it has none.

        ``judged`` is ``examples`` by default: each is one answer.
        """
        judged = examples if judged is None else judged
        if examples == 0:
            return cls()
        return cls(
            examples=examples,
            correct=correct,
            loss_units=loss_units,
            judged=judged,
            histogram=((100 * correct // judged, 1),) if judged else (),
            worst=(correct, judged, node) if judged else None,
        )

    def __add__(self, other: Scores) -> Scores:
        bins = dict(self.histogram)
        for hundredths, devices in other.histogram:
            bins[hundredths] = capped(bins.get(hundredths, 0) + devices)
        return Scores(
            examples=capped(self.examples + other.examples),
            correct=capped(self.correct + other.correct),
            loss_units=capped(self.loss_units + other.loss_units),
            judged=capped(self.judged + other.judged),
            histogram=tuple(sorted(bins.items())),
            worst=min((w for w in (self.worst, other.worst) if w), key=_accuracy_key, default=None),
        )

    @property
    def devices(self) -> int:
        """How many devices had answers of theirs judged."""
        return sum(count for _, count in self.histogram)

    @property
    def accuracy(self) -> float | None:
        """Correct over all answers judged on all hold-outs, or None where there were none."""
        return self.correct / self.judged if self.judged else None

    @property
    def loss(self) -> float | None:
        """Mean loss, or None where there were no examples."""
        return self.loss_units / LOSS_UNITS_PER_NAT / self.examples if self.examples else None

    def percentile(self, percent: float) -> float | None:
        """Accuracy below which ``percent`` of the devices lie, read from the histogram's bins."""
        rank = percent / 100 * self.devices
        seen = 0
        for hundredths, devices in self.histogram:
            seen += devices
            if seen >= rank:
                return hundredths / 100
        return None


def _accuracy_key(worst: tuple[int, int, str]) -> tuple[float, str, int]:
    correct, judged, node = worst
    return (correct / judged, node, judged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that a subtree reports: links up to its root, tiers, training, scores, rollout, pilot.

    ``spans`` take a round's time apart: by tier, the microseconds for which iterations of its cells
    were open, and for tier 0 those of a device's local steps. Among children that answer the same
    iteration the longest counts, so what a span exceeds that of the tier below by is what the
    link between them took.
    """

    links: Mapping[int, LinkFigures] = field(default_factory=dict)
    tiers: Mapping[int, TierFigures] = field(default_factory=dict)
    scores: Scores = field(default_factory=Scores)
    trained_steps: int = 0  # local steps done for this update
    trained_loss_units: int = 0  # their losses, in 2^-20 nats
    rollout: Rollout = field(default_factory=Rollout)
    measured: Measured = field(default_factory=Measured)
    spans: Mapping[int, int] = field(default_factory=dict)  # tier -> microseconds
    equipping: int = 0  # microseconds for which work waited for an artefact; in no span

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            links=_merge(self.links, other.links),
            tiers=_merge(self.tiers, other.tiers),
            scores=self.scores + other.scores,
            trained_steps=capped(self.trained_steps + other.trained_steps),
            trained_loss_units=capped(self.trained_loss_units + other.trained_loss_units),
            rollout=self.rollout + other.rollout,
            measured=self.measured + other.measured,
            spans={
                tier: max(self.spans.get(tier, 0), other.spans.get(tier, 0))
                for tier in {*self.spans, *other.spans}
            },
            equipping=max(self.equipping, other.equipping),
        )

    def then(self, later: Figures) -> Figures:
        """The sum with what came later on the same nodes, whose spans come on top."""
        spans = {
            tier: capped(self.spans.get(tier, 0) + later.spans.get(tier, 0))
            for tier in {*self.spans, *later.spans}
        }
        equipping = capped(self.equipping + later.equipping)
        return replace(self + later, spans=spans, equipping=equipping)

    @property
    def of_iteration(self) -> Figures:
        """What answers tell of their iteration alone: scores, training, spans, measurements."""
        return replace(self, links={}, tiers={}, rollout=Rollout())

    def with_span(self, tier: int, seconds: float) -> Figures:
        """These figures of an iteration, and for how long a node of a tier was busy with it."""
        return replace(self, spans={**self.spans, tier: capped(max(0, round(1e6 * seconds)))})

    def with_link(self, link: int, figures: LinkFigures) -> Figures:
        """These figures with a link's counts added."""
        return replace(self, links=_merge(self.links, {link: figures}))

    def to_json(self) -> dict[str, Any]:
        """As they stand in a manifest, or nothing at all where they would not fit.

        Short keys, since a manifest is small. What honest trees report fits (eight tiers, all
        101 bins, a million devices); an update must not fail for what a child made up.
        """
        document = self._document()
        return document if len(to_json(document)) <= FIGURES_BYTES_MAX else {}

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "l": [[link, *_link_values(f)] for link, f in sorted(self.links.items())],
            "t": [[tier, *_tier_values(f)] for tier, f in sorted(self.tiers.items())],
        }
        if self.trained_steps or self.trained_loss_units:
            document["s"] = [self.trained_steps, self.trained_loss_units]
        if self.scores.examples:
            scores = self.scores
            document["e"] = [scores.examples, scores.correct, scores.loss_units]
            document["h"] = [number for pair in scores.histogram for number in pair]
            document["w"] = list(scores.worst or ())
            if scores.judged != scores.examples:
                document["j"] = scores.judged
        if self.rollout.versions:
            document["v"] = self.rollout.to_json()
        measured = self.measured.to_json()
        if measured:
            document["m"] = measured
        if self.spans:
            document["i"] = [list(span) for span in sorted(self.spans.items())]
        if self.equipping:
            document["a"] = self.equipping
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Figures:
        """Read the figures of a manifest.

        Raises:
            WireError: If anything in them is not a bounded integer where one belongs.
        """
        if not document:
            return cls()
        reader = Fields(document, what="figures")
        links = {
            row[0]: LinkFigures(**dict(zip(_LINK_NAMES, row[1:], strict=True)))
            for row in _rows(reader, "l", width=1 + len(_LINK_NAMES))
        }
        tiers = {
            row[0]: TierFigures(**dict(zip(_TIER_NAMES, row[1:], strict=True)))
            for row in _rows(reader, "t", width=1 + len(_TIER_NAMES))
        }
        steps = (
            reader.integers("s", -FIGURE_MAX, FIGURE_MAX, items_max=2)
            if "s" in document
            else (0, 0)
        )
        rows = _rows(reader, "i", width=2) if "i" in document else []
        spans = {row[0]: row[1] for row in rows}
        if len(steps) != 2 or any(not 0 <= key <= TIERS_MAX for key in (*links, *tiers, *spans)):
            raise WireError("figures: a link or tier outside the tree")
        if steps[0] < 0:
            raise WireError(f"figures: {steps[0]} local steps; no fewer than 0 can be done")
        return cls(
            links=links,
            tiers=tiers,
            scores=_scores(reader, judged="j" in document) if "e" in document else Scores(),
            trained_steps=steps[0],
            trained_loss_units=steps[1],
            rollout=Rollout.from_fields(reader, "v") if "v" in document else Rollout(),
            measured=Measured.from_fields(reader.object("m")) if "m" in document else Measured(),
            spans=spans,
            equipping=reader.integer("a", 0, FIGURE_MAX) if "a" in document else 0,
        )


def fold(figures: Iterable[Figures]) -> Figures:
    """The sum of several subtrees' figures."""
    return sum(figures, start=Figures())


def _scores(reader: Fields, *, judged: bool) -> Scores:
    totals = reader.integers("e", 0, FIGURE_MAX, items_max=3)
    flat = reader.integers("h", 0, FIGURE_MAX, items_max=2 * _BINS)
    histogram = tuple(zip(flat[::2], flat[1::2], strict=False))
    worst = reader.listing("w", items_max=3)
    if len(totals) != 3 or len(flat) % 2 or any(bin_ >= _BINS for bin_ in flat[::2]):
        raise WireError("figures: scores out of range")
    answers = reader.integer("j", 0, FIGURE_MAX) if judged else totals[0]
    if answers == 0 and not flat and not worst:
        return Scores(examples=totals[0], correct=totals[1], loss_units=totals[2])
    if len(worst) != 3 or not isinstance(worst[2], str) or not is_node_id(worst[2]):
        raise WireError("figures: the worst device is not [correct, judged, node]")
    pair = Fields({"pair": worst[:2]}, what="figures").integers("pair", 0, FIGURE_MAX, items_max=2)
    if not pair[0] <= pair[1] or pair[1] == 0:
        raise WireError("figures: the worst device has more right than it was judged on")
    return Scores(
        examples=totals[0], correct=totals[1], loss_units=totals[2], judged=answers,
        histogram=histogram, worst=(pair[0], pair[1], worst[2]),
    )  # fmt: skip


def _rows(reader: Fields, name: str, *, width: int) -> list[tuple[int, ...]]:
    rows = []
    for row in reader.listing(name, items_max=TIERS_MAX + 1):
        if not isinstance(row, list) or len(row) != width:
            raise WireError(f"figures: a row of {name!r} does not have {width} numbers")
        rows.append(
            Fields({name: row}, what="figures").integers(name, 0, FIGURE_MAX, items_max=width)
        )
    return rows


def _merge(left: Mapping[int, _F], right: Mapping[int, _F]) -> dict[int, _F]:
    merged = dict(left)
    for key, value in right.items():
        merged[key] = merged[key] + value if key in merged else value
    return merged
