"""The cloud's machine: a cell without a parent. It opens rounds until the plan is fulfilled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from fedtier.core.aggregator import Spooled
from fedtier.core.cell import Cell, CellEffect, Collected, Looked
from fedtier.core.effects import Aggregate, Effect, Finish, Job, Note, Stop
from fedtier.core.events import (
    Aggregated,
    Allowance,
    Connected,
    Disconnected,
    Event,
    Hindered,
    Installed,
    Onward,
    Received,
    Tick,
    WorkDone,
    WorkFailed,
)
from fedtier.core.expected import Expected
from fedtier.core.figures import Figures
from fedtier.core.pilot import asks_gradient, plan_of_round
from fedtier.core.verify import spacing_of
from fedtier.errors import EXIT_CONFIG, ConfigError
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.model.exact_sum import fixed_point_exponent
from fedtier.wire.head import Head, Member, Task
from fedtier.wire.plan import Plan

RootState = Literal["looking", "gathering", "collecting", "closing", "finished"]
"""gathering: waiting for the members to be ready for the next round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One run of a federation, at the point where this boot takes it up."""

    run: RunId
    epoch: int
    plan: Plan
    artefact: str
    artefact_blob: bytes = field(repr=False)
    layout: str
    dimension: int
    resumed: bool = False  # an earlier boot may have opened what comes next
    next_round: int  # rounds already in the model
    rounds_trained: int  # of these, the ones in which a member came
    gradient_known: bool = False  # of a pilot: the one that is asked for before the next round
    onward: Onward | None = None  # of a run whose plan follows what is measured
    model: str
    blob: bytes = field(repr=False)
    rms: float = 0.0  # of the coordinates of the last deltas; 0 while unknown


class RootMachine:
    """One event in, the effects to perform out, in order."""

    def __init__(
        self,
        *,
        node: NodeId,
        members: Iterable[NodeId],
        members_min: int,
        part_bytes: int,
        nonce: BootNonce,
        course: Course,
        expected: Expected,
        spooled: Spooled | None = None,
    ) -> None:
        """Begin before the first connection.

        Args:
            node: The cloud's id, which also names its cell.
            members: Its children.
            members_min: How many of them must be ready before a round opens.
            part_bytes: How large a published part may be, header included.
            nonce: 64 fresh random bits of this boot.
            course: The run, and how far it has come.
            expected: What is beneath each child; a child of another tree ends the cloud.
            spooled: The updates an earlier boot had accepted.
        """
        self.cell = Cell(
            node=node, members=members, members_min=members_min, part_bytes=part_bytes, nonce=nonce
        )
        self.cell.equip(course.artefact, course.artefact_blob)
        self._nonce = nonce
        self._course = course
        self._onward = course.onward
        self._resumed = course.resumed  # of the iteration that is open, or comes next
        self._expected = expected
        self._spooled = dict(spooled or {})
        self._round = course.next_round
        self._trained = course.rounds_trained
        self._gradient_known = course.gradient_known
        self._rms = course.rms
        self._model = course.model
        self._blob = course.blob
        self._state: RootState = "looking"

    @property
    def state(self) -> RootState:
        """What the cloud is doing."""
        return self._state

    @property
    def timer_s(self) -> float | None:
        """When a ``Tick`` is due."""
        return self.cell.timer_s

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take one event, return what the driver must now do, in order."""
        match event:
            case Connected():
                return self._from_cell(self.cell.connected(now_s), now_s)
            case Disconnected():
                self.cell.disconnected()
                return []
            case Received():
                effects = self._from_cell(self.cell.hear(event, now_s), now_s)
                return [*effects, *self._open_if_ready(now_s)]
            case Aggregated():
                return self._aggregated(event, now_s)
            case Tick():
                return self._from_cell(self.cell.tick(now_s), now_s)
            case Allowance() | Installed() | WorkDone() | WorkFailed() | Hindered():
                raise AssertionError("the cloud answers nobody")
            case _:
                assert_never(event)

    def _from_cell(self, items: list[CellEffect], now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        for item in items:
            match item:
                case Looked():
                    self._state = "gathering"
                    effects += self._open_if_ready(now_s)
                case Collected():
                    effects += self._collected(item, now_s)
                case _:
                    effects.append(item)
        return effects

    def _open_if_ready(self, now_s: float) -> list[Effect]:
        roster = self.cell.roster
        if self._state != "gathering" or roster.ready < roster.needed:
            return []
        members = roster.present()
        refusal = self._refusal(members)
        if refusal is not None:
            return [Stop(exit_code=EXIT_CONFIG, reason=refusal)]
        try:
            weight = sum(m.weight for m in members)
            fixed_point_exponent(weight, self._plan.range_bits)
        except ConfigError as error:
            return [Stop(exit_code=EXIT_CONFIG, reason=f"round {self._round}: {error}")]
        self._state = "collecting"
        head = self._head(members, task=self._next_task())
        spooled = self._spooled.pop((head.run, head.path), {})
        note = Note(
            level="info",
            event="round opened",
            fields={"path": str(head.path), "task": head.task, "members": len(members)},
        )
        opened = self._from_cell(self.cell.open(head, self._blob, now_s, spooled=spooled), now_s)
        return [note, *opened]

    def _next_task(self) -> Task:
        plan = self._plan
        if asks_gradient(plan, self._round) and not self._gradient_known:
            return "gradient"
        return "evaluate" if self._round >= plan.rounds else "train"

    def _refusal(self, members: tuple[Member, ...]) -> str | None:
        """M-6: why no round may open with these members, if one of them is of another tree."""
        roster, first = self.cell.roster, self.cell.head is None
        refusals = (
            self._expected.refusal(m.node, roster.presence(m.node), first=first) for m in members
        )
        return next((reason for reason in refusals if reason is not None), None)

    def _head(self, members: tuple[Member, ...], *, task: Task) -> Head:
        course, plan = self._course, self._plan
        p0, p1 = self._progress()
        head = Head(
            nonce=self._nonce, seq=0, run=course.run, epoch=course.epoch,
            path=IterationPath((self._round,)), state="draining" if task == "evaluate" else "open",
            task=task, model=self._model, layout=course.layout, dimension=course.dimension,
            artefact=course.artefact, blobs=(), tier=plan.tiers, first_step=0,
            p0=p0, p1=p1, plan=plan_of_round(plan, self._round), members=members,
        )  # fmt: skip
        return replace(head, spacing=spacing_of(head, self._rms))

    @property
    def _plan(self) -> Plan:
        return self._course.plan if self._onward is None else self._onward.plan

    def _progress(self) -> tuple[float, float]:
        """Where on the schedule the next round begins and ends."""
        if self._onward is not None:
            return self._onward.p0, self._onward.p1
        rounds = self._course.plan.rounds
        return min(1.0, self._round / rounds), min(1.0, (self._round + 1) / rounds)

    def _collected(self, collected: Collected, now_s: float) -> list[Effect]:
        self._state = "closing"
        figures = self.cell.figures() + collected.figures
        if collected.head.task == "evaluate":
            return self._finish(collected.head, figures, now_s)
        trains = collected.head.task == "train"
        self._rms = collected.rms or self._rms
        self._trained += trains and bool(collected.came)
        aggregate = Aggregate(
            job=collected.job, head=collected.head, came=collected.came,
            admitted_weight=sum(m.weight for m in collected.head.members), above=None,
            done=self._round + trains, trained=self._trained, seconds=collected.seconds,
            resumed=self._resumed, reasons=collected.reasons, rms=self._rms, model=self._blob,
            figures=figures,
        )  # fmt: skip
        self._resumed = False
        if collected.came:
            return [aggregate]
        path = str(collected.head.path)
        return [Note(level="warning", event="empty round", fields={"path": path}), aggregate]

    def _aggregated(self, event: Aggregated, now_s: float) -> list[Effect]:
        head = self.cell.head
        assert head is not None, "a sum before the first round"
        assert self._state == "closing", "a sum that was not asked for"
        assert event.job == Job.of(head), "one sum at a time"
        self._model, self._blob = event.model, event.blob
        self._onward = event.onward or self._onward
        self._gradient_known = head.task == "gradient"
        self._round += head.task == "train"
        self._state = "gathering"
        return self._open_if_ready(now_s)

    def _finish(self, head: Head, figures: Figures, now_s: float) -> list[Effect]:
        self._state = "finished"
        finished = replace(head, state="finished", members=(), spacing=0.0)
        said = self._from_cell(self.cell.say(finished, self._blob, now_s), now_s)
        return [*said, Finish(head=head, rounds_trained=self._trained, figures=figures)]
