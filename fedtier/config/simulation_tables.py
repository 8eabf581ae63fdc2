"""How long things take in the simulator, as a federation file says it."""

from __future__ import annotations

from dataclasses import dataclass

from fedtier.config.schema import key
from fedtier.limits import SECONDS_MAX, TIERS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLinkTable:
    """What one link is like in `fedtier sim`: every child's connection to its parent's broker."""

    rate_bytes_per_s: float | None = key(
        "Bytes a second in each direction; absent: without a limit.",
        default=None,
        above=0,
    )
    latency_s: float = key(
        "Seconds from one end to the other.", default=0.0, unit="s", minimum=0, maximum=3600
    )
    jitter_s: float = key(
        "Up to so many seconds more, drawn for each message; their order stays.",
        default=0.0,
        unit="s",
        minimum=0,
        maximum=3600,
    )
    loss: float = key(
        "Share of the messages that never arrive, as where a broker's queue overflows.",
        default=0.0,
        minimum=0,
        maximum=0.9,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedChangeTable(SimulatedLinkTable):
    """A link that becomes another in the middle of a simulated run."""

    at_s: float = key("Virtual seconds since the start.", unit="s", minimum=0, maximum=SECONDS_MAX)
    number: int = key("The link's, from 1 (from the devices).", minimum=1, maximum=TIERS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationTable:
    """How long things take in `fedtier sim`, and by `fedtier plan` before a pilot has measured."""

    step_s: float = key(
        "Seconds of one local step on a device; [[node]] has it for single ones.",
        default=0.01,
        unit="s",
        minimum=0,
        maximum=3600,
    )
    tail: float | None = key(
        "Heavy-tailed stragglers: an iteration's local steps take so much longer as a draw from a "
        "Pareto distribution of this exponent says, at least once, at most a thousand times; the "
        "smaller, the heavier. Absent: they take as long as they take.",
        default=None,
        above=1,
        maximum=100,
    )
    link: tuple[SimulatedLinkTable, ...] = key(
        "One table per link, link 1 (from the devices) first; absent: links without delay.",
        default=(),
        items_max=TIERS_MAX,
    )
    change: tuple[SimulatedChangeTable, ...] = key(
        "Links that become others in the middle of a run: from then on all is as this table says.",
        default=(),
    )
