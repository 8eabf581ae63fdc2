"""What a machine asks its driver to do, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fedtier.core.figures import Figures
from fedtier.ids import IterationPath, NodeId, RunId
from fedtier.wire.head import Head, Member, Task
from fedtier.wire.messages import Message
from fedtier.wire.parts import Part
from fedtier.wire.topics import ALL

Side = Literal["up", "down"]
"""Towards the parent, on its broker; or towards the children, on one's own."""


Reasons = tuple[tuple[NodeId, str], ...]
"""Why members abstained, each with its name, in the order of the names."""

NO_BLOB = "0" * 64
"""The digest of no blob: to want it asks a parent for its head, and a child for its offer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work a head asks for.

    The epoch is no part of it: the same job after a restart from an older state has the same
    result, to the bit.
    """

    run: RunId
    path: IterationPath
    task: Task
    base: str  # digest of the model it starts from

    @classmethod
    def of(cls, head: Head) -> Job:
        """The job a head describes."""
        return cls(run=head.run, path=head.path, task=head.task, base=head.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Publish a message; ``node`` is ``all`` or the child it is for or from."""

    side: Side
    message: Message
    node: NodeId = ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class SavePart:
    """Store a part of an artefact that is on its way, so that a restart need not ask for it again.

    It need not be durable: what is lost is asked for.
    """

    part: Part = field(repr=False)
    afresh: bool  # whether it is the first: what was stored before it is of no use any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """Verify an artefact, make it durable and ready for use, then report ``Installed``."""

    artefact: str  # its digest
    blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Do what the head asks with this model, store the update, then report ``WorkDone``."""

    job: Job
    head: Head
    model: bytes = field(repr=False)  # the model's blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Preempt:
    """Stop working on this job at the next local step; its result is not wanted any more."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Spool:
    """Keep a verified update of the open iteration until it closes."""

    run: RunId
    path: IterationPath
    child: NodeId
    blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """Mean the spooled updates, make the new model durable, then report ``Aggregated``.

    ``came`` are the members whose updates enter the mean; with none the model stays as it is, to
    the bit. So it does at the cloud where the head's task is ``gradient``: what the means say of it
    is made durable instead.
    """

    job: Job
    head: Head
    came: tuple[Member, ...]
    admitted_weight: int  # of all members of the iteration, whoever came
    above: Job | None  # the parent's job this iteration serves; None at the cloud
    done: int  # iterations closed for it with this one; at the cloud, rounds
    trained: int  # of these, the ones in which a member came
    seconds: float  # how long the iteration was open in this boot
    resumed: bool = False  # an earlier boot had opened it, or may have: no time of it is whole
    reasons: Reasons  # of the members that abstained
    rms: float = 0.0  # of the coordinates of the newest deltas of this cell; 0 while unknown
    model: bytes = field(repr=False)  # the blob of the model before it
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Make the update that answers the parent's head, store it, then report ``WorkDone``.

    ``reason`` is why it abstains; empty for a delta (task ``train``) or an evaluation.
    """

    job: Job
    head: Head
    weight: int
    reason: str
    start: bytes = field(repr=False)  # the blob of the model from above
    end: bytes = field(repr=False)  # and of what the cell made of it
    figures: Figures
    gathered: Aggregate | None = None  # of task `gradient`: whose means it sends


@dataclass(frozen=True, slots=True, kw_only=True)
class Remember:
    """Store what was announced under a digest, before it is announced."""

    beneath: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """A model to keep between runs: the last one of a finished run."""

    head: Head
    model: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The run is over; ``figures`` are what the whole tree reported of its last model."""

    head: Head
    rounds_trained: int  # rounds in which a member came; with none the model is the first one
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something an operator or a test may want to know."""

    level: Literal["debug", "info", "warning"]
    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """End this side's connection, which is up but brings nothing, and make another."""

    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End this process: it must not go on."""

    exit_code: int
    reason: str


Effect = (
    Send | SavePart | Install | Work | Preempt | Spool | Aggregate | Answer | Remember | Keep
    | Finish | Note | Reconnect | Stop
)  # fmt: skip
