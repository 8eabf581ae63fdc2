"""A federation and a pilot's estimates, put together as the planner takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from fedtier.artefact.schedule import Schedule
from fedtier.config.budget_rules import needs_of
from fedtier.config.federation import Federation
from fedtier.errors import ConfigError
from fedtier.planner.bound import Problem
from fedtier.planner.cost import Costs, Exchange, exchange
from fedtier.planner.estimates import Estimates
from fedtier.planner.forecast import SCHEDULE_POINTS, Forecast
from fedtier.planner.padded import Padded
from fedtier.planner.round_time import Times
from fedtier.planner.tree_constants import TreeConstants
from fedtier.quantize.codec import Codec
from fedtier.quantize.registry import make_codec
from fedtier.topology import Topology

QSource = Literal["measured", "bound"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChoice:
    """What a link sends with, and how much that adds to what it carries.

    Attributes:
        codec: The codec.
        parameters: As a federation file writes them.
        q: Relative variance, for the forecast.
        q_source: Whether the pilot measured q with this very codec, or it is the codec's bound.
    """

    codec: Codec
    parameters: Mapping[str, float] = field(default_factory=dict)
    q: float
    q_source: QSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A federation with the codecs that are considered, as numbers.

    Attributes:
        federation: As its file has it.
        estimates: Of a pilot.
        links: Of link 1 to N.
        tree: Constants of the padded tree; devices count alike.
        costs: Bytes and seconds.
        forecast: Calibrated, with the q of ``links`` and the schedule's shape.
    """

    federation: Federation
    estimates: Estimates
    links: tuple[LinkChoice, ...]
    tree: TreeConstants
    costs: Costs
    forecast: Forecast

    @classmethod
    def of(cls, federation: Federation, estimates: Estimates) -> Self:
        """With the codecs of the federation file.

        Raises:
            ConfigError: If the estimates are of another federation: other links or devices.
        """
        if len(estimates.link) != federation.tiers:
            raise ConfigError(
                f"{federation.where}: it has {federation.tiers} links, and the estimates have "
                f"{len(estimates.link)}. Measure this federation: run a pilot of it."
            )
        links = tuple(
            link_choice(estimates, n, link.codec, dict(link.parameters))
            for n, link in enumerate(federation.links, start=1)
        )
        padded = Padded.of(federation.topology)
        missing = [device for device in padded.devices if device not in estimates.step_s]
        if missing:
            raise ConfigError(
                f"{federation.where}: the estimates have no step_s of {missing[0]!r}"
                f"{f' and {len(missing) - 1} others' if len(missing) > 1 else ''}. Run a pilot in "
                "which it takes part."
            )
        tree = TreeConstants.of(padded.parents)
        measured = [_measured_q(estimates, n) for n in range(1, len(links) + 1)]
        forecast = Forecast.calibrated(
            tree,
            problem_of(estimates, measured),
            estimates.progress,
            shares=_shares(federation),
        )
        return cls(
            federation=federation, estimates=estimates, links=links, tree=tree,
            costs=_costs(federation, estimates, padded, links),
            forecast=forecast.with_q([link.q for link in links]),
        )  # fmt: skip

    @property
    def start_s(self) -> float:
        """Seconds of a run before its first round is under way, where nothing is there yet.

        A little more than was seen in simulations: on each link connections, the head and the
        artefact that is asked for take five ways one after the other, and on the slowest two more.
        An artefact is small beside a model, and the first model is that of the first round.
        """
        trips_s = [link.latency_s for link in self.estimates.link]
        return 2.5 * sum(trips_s) + max(trips_s)

    def with_link(self, number: int, choice: LinkChoice) -> Setting:
        """With another codec on link ``number``, from 1."""
        links = (*self.links[: number - 1], choice, *self.links[number:])
        padded = Padded.of(self.federation.topology)
        return Setting(
            federation=self.federation, estimates=self.estimates, links=links, tree=self.tree,
            costs=_costs(self.federation, self.estimates, padded, links),
            forecast=self.forecast.with_q([link.q for link in links]),
        )  # fmt: skip

    def guaranteed_problem(self) -> Problem:
        """The constants for the bound, where a codec's q is the one that holds for every vector."""
        d = self.estimates.dimension
        return problem_of(self.estimates, [link.codec.q_bound(d) for link in self.links])


def link_choice(
    estimates: Estimates, number: int, codec: str, parameters: Mapping[str, float]
) -> LinkChoice:
    """A codec on link ``number``, from 1, with what is known of its q."""
    made = make_codec(codec, parameters)
    measured = estimates.link[number - 1]
    same = (measured.codec, measured.parameters) == (codec, dict(parameters))
    if same and measured.q is not None:
        return LinkChoice(codec=made, parameters=parameters, q=measured.q, q_source="measured")
    bound = made.q_bound(estimates.dimension)
    return LinkChoice(codec=made, parameters=parameters, q=bound, q_source="bound")


def problem_of(estimates: Estimates, q: Sequence[float]) -> Problem:
    """The assumptions' constants as they were measured."""
    return Problem(
        smoothness=estimates.L,
        gap=estimates.gap,
        gradient_variance=estimates.sigma2,
        heterogeneity=estimates.zeta2,
        q=tuple(q),
        smoothness_mean=estimates.Lh,
        smoothness_each=estimates.Lv,
    )


def _measured_q(estimates: Estimates, number: int) -> float:
    measured = estimates.link[number - 1]
    return link_choice(estimates, number, measured.codec, measured.parameters).q


def _shares(federation: Federation) -> tuple[float, ...]:
    table = federation.plan.schedule
    schedule = Schedule(
        kind=table.kind, mu=1.0, floor=table.floor, factor=table.factor,
        milestones=tuple(table.milestones),
    )  # fmt: skip
    points = range(SCHEDULE_POINTS)
    return tuple(float(schedule.mu_at(2 * j + 1, 2 * SCHEDULE_POINTS)) for j in points)


def _costs(
    federation: Federation, estimates: Estimates, padded: Padded, links: Sequence[LinkChoice]
) -> Costs:
    exchanges = [
        exchange_of(
            federation.topology, number, choice.codec, dimension=estimates.dimension,
            part_bytes=federation.plan.part_bytes, rate_bytes_per_s=measured.rate_bytes_per_s,
            latency_s=measured.latency_s,
        )
        for number, (choice, measured) in enumerate(zip(links, estimates.link, strict=True), 1)
    ]  # fmt: skip
    return Costs(
        times=Times(
            parents=padded.parents,
            step_s=[estimates.step_s[device] for device in padded.devices],
            message_s=[
                [each.seconds if sent else 0.0 for sent in tier]
                for tier, each in zip(padded.sends, exchanges, strict=True)
            ],
        ),
        exchanges=exchanges,
        budgets=[link.budget for link in federation.links],
        needs=[
            needs_of(
                federation,
                link=number,
                payload_bytes=choice.codec.payload_bytes(estimates.dimension),
                dimension=estimates.dimension,
            )
            for number, choice in enumerate(links, start=1)
        ],
    )


def exchange_of(
    topology: Topology,
    number: int,
    codec: Codec,
    *,
    dimension: int,
    part_bytes: int,
    rate_bytes_per_s: float | None = None,
    latency_s: float = 0.0,
) -> Exchange:
    """What an exchange takes on link ``number``, from 1, with any codec there.

    Args:
        topology: Of which the largest cell counts.
        number: Of the link.
        codec: Of the update.
        dimension: d.
        part_bytes: The largest message.
        rate_bytes_per_s: Of a child's connection.
        latency_s: Of a way to the parent and back.
    """
    cells = [cell for cell in topology.cells() if cell.link == number]
    return exchange(
        payload_bytes=codec.payload_bytes(dimension),
        dimension=dimension,
        members=max((len(cell.children) for cell in cells), default=0),
        part_bytes=part_bytes,
        rate_bytes_per_s=rate_bytes_per_s,
        latency_s=latency_s,
    )
