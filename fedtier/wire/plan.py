"""The plan: what stays the same for a whole round in every cell of the tree; part of every head."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal, get_args

from fedtier.errors import WireError
from fedtier.ids import hex64
from fedtier.limits import (
    BEACON_S,
    COUNT_MAX,
    GIVE_UP_S,
    MILESTONES_MAX,
    MU_END,
    RANGE_BITS_DEFAULT,
    RANGE_BITS_MAX,
    STEPS_PER_ROUND_MAX,
    TIERS_MAX,
)
from fedtier.wire.fields import Fields

ScheduleKind = Literal["constant", "cosine", "step"]

Carry = Literal["none", "iteration"]

SCHEDULE_KINDS: tuple[str, ...] = get_args(ScheduleKind)
CARRIES: tuple[str, ...] = get_args(Carry)

AUTO_LOWERING = "auto"
"""Every device takes the lowering that is fastest on it, and no digest is promised."""

_CODEC_PARAMETERS_MAX = 8
_QUORUM = re.compile(r"all|[0-9]{1,9}|0\.[0-9]{1,17}|1\.0{1,17}")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LOWERING = re.compile(r"[a-z][a-z0-9]{0,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecSpec:
    """A codec's name and its parameters, as in a federation file."""

    name: str
    parameters: tuple[tuple[str, float], ...] = ()  # whole numbers are ints


IDENTITY = CodecSpec(name="identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What stays the same for a whole round in every cell of the tree."""

    seed: int  # 64 bits; the only source of every draw
    rounds: int
    tau: tuple[int, ...]  # tau_1 .. tau_N
    codecs: tuple[CodecSpec, ...]  # Q_1 .. Q_N
    schedule: ScheduleKind
    mu: float  # step size at the beginning
    floor: float  # share of mu left at the end
    factor: float = 1.0  # of mu at each milestone; with the schedule ``step`` alone, as the next
    milestones: tuple[float, ...] = ()  # progress of the run, ascending
    quorum: tuple[str, ...] = ()  # per link: "all", a number such as "3", a share such as "0.8"
    deadline_s: tuple[float | None, ...] = ()  # per iteration on link n; () = none
    give_up_s: float = GIVE_UP_S  # past its deadline an iteration waits so long for its quorum
    beacon_s: float = BEACON_S  # a parent's sign of life
    range_bits: int = RANGE_BITS_DEFAULT  # R: coordinates of updates lie in (-2**R, 2**R)
    carry: Carry = "none"  # how long a device's optimiser keeps its momentum
    lowering: str = ""  # of the artefact's; "" = its first, "auto" = each device's fastest
    pilot: int = 0  # rounds at the beginning in which the run is measured

    @property
    def tiers(self) -> int:
        """N, the number of links between a device on tier 0 and the cloud."""
        return len(self.tau)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a head."""
        stepped = {"factor": self.factor, "milestones": list(self.milestones)}
        return {
            "seed": hex64(self.seed), "rounds": self.rounds, "tau": list(self.tau),
            "codecs": [[codec.name, dict(codec.parameters)] for codec in self.codecs],
            "schedule": self.schedule, "mu": self.mu, "floor": self.floor,
            "quorum": list(self.quorum), "deadline_s": list(self.deadline_s),
            "give_up_s": self.give_up_s, "beacon_s": self.beacon_s, "range_bits": self.range_bits,
            **({} if self.carry == "none" else {"carry": self.carry}),
            **({"lowering": self.lowering} if self.lowering else {}),
            **({"pilot": self.pilot} if self.pilot else {}),
            **(stepped if self.schedule == "step" else {}),
        }  # fmt: skip

    @classmethod
    def from_fields(cls, fields: Fields) -> Plan:
        """Read a plan out of a head.

        Raises:
            WireError: If a field is missing or out of range.
        """
        tau = fields.integers("tau", 1, COUNT_MAX, items_max=TIERS_MAX)
        codecs = tuple(_codec(item) for item in fields.listing("codecs", items_max=TIERS_MAX))
        quorum = tuple(_quorum(item) for item in fields.listing("quorum", items_max=TIERS_MAX))
        deadlines = tuple(
            None if item is None else _number(item, 0, 1e9)
            for item in fields.listing("deadline_s", items_max=TIERS_MAX)
        )
        if (
            not tau
            or len(codecs) != len(tau)
            or not all(len(values) in (0, len(tau)) for values in (quorum, deadlines))
        ):
            raise WireError("the plan's lists do not have one entry per link")
        if math.prod(tau) > STEPS_PER_ROUND_MAX:
            raise WireError(f"the plan asks for {math.prod(tau)} steps a round, beyond 2^53")
        mu = fields.number("mu", 0, MU_END)
        if not 0 < mu < MU_END:
            raise WireError(f"plan: mu = {mu} is outside (0, {MU_END:g})")
        schedule = fields.choice("schedule", SCHEDULE_KINDS)
        factor, milestones = _steps(fields) if schedule == "step" else (1.0, ())
        return cls(
            seed=fields.hex64("seed"), rounds=fields.integer("rounds", 1, COUNT_MAX), tau=tau,
            codecs=codecs,
            schedule=schedule,  # type: ignore[arg-type]
            mu=mu, floor=fields.number("floor", 0, 1), factor=factor, milestones=milestones,
            quorum=quorum, deadline_s=deadlines,
            give_up_s=fields.number("give_up_s", 0, 1e9),
            beacon_s=fields.number("beacon_s", 1, 1e6),
            range_bits=fields.integer("range_bits", 0, RANGE_BITS_MAX),
            carry=fields.choice("carry", CARRIES) if fields.has("carry") else "none",  # type: ignore[arg-type]
            lowering=_lowering(fields) if fields.has("lowering") else "",
            pilot=fields.integer("pilot", 0, COUNT_MAX) if fields.has("pilot") else 0,
        )  # fmt: skip


def _steps(fields: Fields) -> tuple[float, tuple[float, ...]]:
    factor = fields.number("factor", 0, 1)
    if factor == 0:
        raise WireError("plan: factor = 0 is outside (0, 1]")
    listed = fields.listing("milestones", items_max=MILESTONES_MAX)
    milestones = tuple(
        Fields({"milestones": item}, what="plan").number("milestones", 0, 1) for item in listed
    )
    if not all(before < after for before, after in pairwise((0.0, *milestones, 1.0))):
        raise WireError("plan: milestones are not ascending within (0, 1)")
    return factor, milestones


def is_lowering(name: str) -> bool:
    """Whether a lowering may be called so; whether an artefact has it is another question."""
    return _LOWERING.fullmatch(name) is not None


def members_needed(quorum: str, *, members: int) -> int:
    """How many of a cell's members a quorum asks for, at least 1.

    A share is taken exactly as it is written, and rounded up: 0.07 of 100 is 7.
    """
    if quorum == "all":
        return members
    if "." in quorum:
        return math.ceil(Fraction(quorum) * members)
    return min(members, int(quorum))


def _lowering(fields: Fields) -> str:
    name = fields.text("lowering", characters_max=20)
    if not is_lowering(name):
        raise WireError(f"plan: lowering {name!r} is no name: a-z, then a-z and 0-9")
    return name


def _codec(item: object) -> CodecSpec:
    if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], Mapping):
        raise WireError("plan: a codec is not [name, parameters]")
    fields = Fields({"name": item[0]}, what="codec")
    parameters = Fields(item[1], what="codec")
    if len(item[1]) > _CODEC_PARAMETERS_MAX or not all(map(_PARAMETER.fullmatch, item[1])):
        raise WireError("plan: a codec has odd parameters")
    return CodecSpec(
        name=fields.text("name", characters_max=40),
        parameters=tuple(
            (key, parameters.integer_or_number(key, -COUNT_MAX, COUNT_MAX))
            for key in sorted(item[1])
        ),
    )


def _number(item: object, low: float, high: float) -> float:
    return Fields({"value": item}, what="plan").number("value", low, high)


def _quorum(item: object) -> str:
    text = Fields({"quorum": item}, what="plan").text("quorum", characters_max=20)
    if not _QUORUM.fullmatch(text) or (text != "all" and float(text) == 0):
        raise WireError(f"plan: quorum {text!r} is neither 'all' nor a number nor a share")
    return text
