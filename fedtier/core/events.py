"""What a machine is told by its driver."""

from __future__ import annotations

from dataclasses import dataclass, field

from fedtier.core.effects import Job, Side
from fedtier.core.figures import Figures
from fedtier.ids import NodeId
from fedtier.wire.messages import Message
from fedtier.wire.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The broker on this side took the connection and every subscription."""

    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """The connection on this side is gone; the transport is trying again."""

    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message that decoded; ``node`` is the topic's: ``all``, or the child it is from or for."""

    side: Side
    node: NodeId
    message: Message
    retained: bool = False  # delivered because of a new subscription, so perhaps old


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An artefact that was fetched is in use, or cannot be."""

    artefact: str  # its digest
    reason: str = ""  # why it cannot be used; empty where it can
    layout: str = ""  # digest of its parameter layout
    dimension: int = 0
    weight: int = 0  # of the device from now on: its examples may be others


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkDone:
    """The update that answers a job is stored; ``blob`` is all of it."""

    job: Job
    blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFailed:
    """The job could not be done; the node abstains, says why, and reports its figures."""

    job: Job
    reason: str
    figures: Figures = field(default_factory=Figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindered:
    """The job cannot be begun now; ``lasting``: nor ever, on this board."""

    job: Job
    reason: str
    lasting: bool = False
    figures: Figures = field(default_factory=Figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Onward:
    """How a run goes on from the end of a round, until it is told otherwise."""

    plan: Plan
    p0: float  # where on its schedule the next round begins, 0 to 1
    p1: float  # and where it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregated:
    """An iteration's mean is in the model and durable."""

    job: Job
    model: str  # digest of the new model
    blob: bytes = field(repr=False)  # and its blob
    onward: Onward | None = None  # at the cloud, where the run's plan follows what is measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a side's budget still allows in this round: said before each of its heads is.

    ``short``: something that was to be sent was not, and waiting would not help.
    """

    side: Side
    bytes_left: int
    short: bool
    reason: str  # for people: which budget, and what is left of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The time the machine asked for has come."""


Event = (
    Connected | Disconnected | Received | Installed | WorkDone | WorkFailed | Hindered | Aggregated
    | Allowance | Tick
)  # fmt: skip
