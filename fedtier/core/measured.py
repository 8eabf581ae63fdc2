"""What a pilot measures: figures of one iteration that fold over any tree, whatever the order.

Sums of numbers that are no integers are kept as fractions, which add exactly, and are rounded to
float64 once, where a node writes them into its manifest. So they are free of order, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Self

from fedtier.core.counts import FIGURE_MAX, capped
from fedtier.errors import WireError
from fedtier.ids import NodeId, is_node_id
from fedtier.limits import TIERS_MAX
from fedtier.wire.fields import Fields

SLOWEST_MAX = 16
"""So many devices are named with their step times: a manifest is small, and rounds wait for them.
"""

_NUMBER_MAX = 1e30
_ZERO = Fraction(0)

PerLink = Mapping[int, Fraction]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """Mean seconds of a local step, over devices; those of the slowest by name."""

    devices: int = 0
    micros: int = 0  # summed over the devices: of each the mean of its steps
    slowest: tuple[tuple[int, str], ...] = ()  # (microseconds, device), the slowest first

    @classmethod
    def of_device(cls, node: NodeId, *, seconds: float) -> Self:
        """Of one device's mean step."""
        micros = capped(round(1e6 * seconds))
        return cls(devices=1, micros=micros, slowest=((micros, node),))

    def __add__(self, other: StepTimes) -> StepTimes:
        named = sorted((*self.slowest, *other.slowest), key=lambda each: (-each[0], each[1]))
        return StepTimes(
            devices=capped(self.devices + other.devices),
            micros=capped(self.micros + other.micros),
            slowest=tuple(named[:SLOWEST_MAX]),
        )

    def to_json(self) -> list[Any]:
        """As it stands in figures."""
        return [self.devices, self.micros, [[node, micros] for micros, node in self.slowest]]

    @classmethod
    def from_json(cls, row: list[Any]) -> Self:
        """Read it from figures.

        Raises:
            WireError: If it is not what ``to_json`` writes.
        """
        if len(row) != 3:
            raise WireError("figures: step times are not [devices, microseconds, slowest]")
        fields = Fields({"sums": row[:2], "slowest": row[2]}, what="figures: step times")
        devices, micros = fields.integers("sums", 0, FIGURE_MAX, items_max=2)
        named = fields.listing("slowest", items_max=SLOWEST_MAX)
        return cls(devices=devices, micros=micros, slowest=tuple(_named(each) for each in named))


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientFigures:
    """What devices found at the cloud's model ``x`` and at their last end points ``w_i``.

    Sums are weighted with the devices' weights, as admitted. A device that kept no end point has
    moved nowhere.
    """

    devices: int = 0
    kept: int = 0  # of these, how many kept their end point
    weight: int = 0  # of all of them
    loss: Fraction = _ZERO  # sum of weight times mean loss at x, nats
    variance: float = 0.0  # largest |g_batch - g_i|^2 of a batch, as a sample variance
    moved: Fraction = _ZERO  # sum of weight times |w_i - x|^2
    changed: Fraction = _ZERO  # sum of weight times |g_i(w_i) - g_i(x)|^2
    # Link n -> sum over the nodes c of tier n-1 of the weight of c times |g_c - g_parent|^2.
    spread: PerLink = field(default_factory=dict)

    @classmethod
    def of_device(
        cls,
        *,
        weight: int,
        loss: float,
        variance: float,
        kept: bool,
        moved: float,
        changed: float,
    ) -> Self:
        """Of one device.

        Args:
            weight: As admitted.
            loss: Its mean loss at x.
            variance: Of the gradient of one batch.
            kept: Whether it kept its end point; otherwise the next two are 0.
            moved: ``|w_i - x|^2``.
            changed: ``|g_i(w_i) - g_i(x)|^2``.
        """
        return cls(
            devices=1,
            kept=int(kept),
            weight=weight,
            loss=weight * Fraction(loss),
            variance=variance,
            moved=weight * Fraction(moved),
            changed=weight * Fraction(changed),
        )

    def __add__(self, other: GradientFigures) -> GradientFigures:
        return GradientFigures(
            devices=capped(self.devices + other.devices),
            kept=capped(self.kept + other.kept),
            weight=capped(self.weight + other.weight),
            loss=self.loss + other.loss,
            variance=max(self.variance, other.variance),
            moved=self.moved + other.moved,
            changed=self.changed + other.changed,
            spread=_merged(self.spread, other.spread),
        )

    def to_json(self) -> list[Any]:
        """As it stands in figures."""
        numbers = [_rounded(n) for n in (self.loss, self.variance, self.moved, self.changed)]
        rows = [[link, _rounded(value)] for link, value in sorted(self.spread.items())]
        return [self.devices, self.kept, self.weight, *numbers, rows]

    @classmethod
    def from_json(cls, row: list[Any]) -> Self:
        """Read it from figures.

        Raises:
            WireError: If it is not what ``to_json`` writes.
        """
        names = (
            "devices", "kept", "weight", "loss", "variance", "moved", "changed", "spread",
        )  # fmt: skip
        if len(row) != len(names):
            raise WireError(f"figures: those of gradients are not {len(names)}")
        fields = Fields(dict(zip(names, row, strict=True)), what="figures: of gradients")
        rows = fields.listing("spread", items_max=TIERS_MAX)
        return cls(
            devices=fields.integer("devices", 0, FIGURE_MAX),
            kept=fields.integer("kept", 0, FIGURE_MAX),
            weight=fields.integer("weight", 0, FIGURE_MAX),
            loss=Fraction(fields.number("loss", -_NUMBER_MAX, _NUMBER_MAX)),
            variance=fields.number("variance", 0, _NUMBER_MAX),
            moved=Fraction(fields.number("moved", 0, _NUMBER_MAX)),
            changed=Fraction(fields.number("changed", 0, _NUMBER_MAX)),
            spread=dict(_link_and_number(each) for each in rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one iteration of a pilot measured beneath a node."""

    q: PerLink = field(default_factory=dict)  # link -> sum of its deltas' exact relative errors
    deltas: Mapping[int, int] = field(default_factory=dict)  # link -> how many
    steps: StepTimes = field(default_factory=StepTimes)
    gradients: GradientFigures = field(default_factory=GradientFigures)

    def __add__(self, other: Measured) -> Measured:
        deltas = {
            link: capped(self.deltas.get(link, 0) + other.deltas.get(link, 0))
            for link in {*self.deltas, *other.deltas}
        }
        return Measured(
            q=_merged(self.q, other.q),
            deltas=deltas,
            steps=self.steps + other.steps,
            gradients=self.gradients + other.gradients,
        )

    def to_json(self) -> dict[str, Any]:
        """As it stands in figures; nothing where nothing was measured."""
        document: dict[str, Any] = {}
        if self.q:
            document["q"] = [
                [link, _rounded(q), self.deltas.get(link, 0)] for link, q in sorted(self.q.items())
            ]
        if self.steps.devices:
            document["t"] = self.steps.to_json()
        if self.gradients != GradientFigures():
            document["g"] = self.gradients.to_json()
        return document

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read it from figures.

        Raises:
            WireError: If it is not what ``to_json`` writes.
        """
        rows = fields.listing("q", items_max=TIERS_MAX) if fields.has("q") else []
        if not all(isinstance(row, list) and len(row) == 3 for row in rows):
            raise WireError("figures: a relative error is not [link, sum, deltas]")
        counts = [Fields({"n": row[2]}, what="figures").integer("n", 0, FIGURE_MAX) for row in rows]
        steps, gradients = StepTimes(), GradientFigures()
        if fields.has("t"):
            steps = StepTimes.from_json(fields.listing("t", items_max=3))
        if fields.has("g"):
            gradients = GradientFigures.from_json(fields.listing("g", items_max=8))
        q = [_link_and_number(row[:2]) for row in rows]
        deltas = {link: count for (link, _), count in zip(q, counts, strict=True)}
        return cls(q=dict(q), deltas=deltas, steps=steps, gradients=gradients)


def _merged(left: PerLink, right: PerLink) -> dict[int, Fraction]:
    return {link: left.get(link, _ZERO) + right.get(link, _ZERO) for link in {*left, *right}}


def _rounded(value: Fraction | float) -> float:
    """To float64, and to what a parent takes: no child can make a sum unsayable."""
    return float(max(-_NUMBER_MAX, min(_NUMBER_MAX, value)))


def _named(item: object) -> tuple[int, str]:
    if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], str):
        raise WireError("figures: a step time is not [device, microseconds]")
    if not is_node_id(item[0]):
        raise WireError(f"figures: {item[0][:60]!r} is no device")
    return Fields({"n": item[1]}, what="figures").integer("n", 0, FIGURE_MAX), item[0]


def _link_and_number(item: object) -> tuple[int, Fraction]:
    if not isinstance(item, list) or len(item) != 2:
        raise WireError("figures: a link's number is not [link, number]")
    fields = Fields({"link": item[0], "number": item[1]}, what="figures")
    link = fields.integer("link", 1, TIERS_MAX)
    return link, Fraction(fields.number("number", 0, _NUMBER_MAX))
