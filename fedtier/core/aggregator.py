"""The gateway's machine: a child towards its parent, the parent of its own cell.

It takes a model from above, lets its cell improve it ``repeats`` times, and sends up the
difference. Nothing crosses between the two sides but through here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from fedtier.core.cell import Cell, CellEffect, Collected, Looked
from fedtier.core.child import Assigned, ChildLink, LinkEffect
from fedtier.core.effects import (
    Aggregate,
    Answer,
    Effect,
    Install,
    Job,
    Keep,
    Note,
    Preempt,
    Remember,
)
from fedtier.core.events import (
    Aggregated,
    Allowance,
    Connected,
    Disconnected,
    Event,
    Hindered,
    Installed,
    Received,
    Tick,
    WorkDone,
    WorkFailed,
)
from fedtier.core.figures import Figures
from fedtier.core.intake import Held
from fedtier.core.refusal import refusal
from fedtier.core.roster import digest_of_members
from fedtier.core.verify import spacing_of
from fedtier.errors import ConfigError
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.limits import WEIGHT_MAX
from fedtier.model.exact_sum import fixed_point_exponent
from fedtier.wire.head import Head, Member
from fedtier.wire.messages import Presence
from fedtier.wire.parts import Part

GatewayState = Literal["idle", "waiting", "collecting", "closing", "answering"]
"""waiting: a job is held until the cell has looked for a second parent. closing: an iteration is
summed. answering: the update for the parent is made."""

Spooled = Mapping[tuple[RunId, IterationPath], Mapping[NodeId, Held]]
"""What a restart found in the spool: the updates of an iteration, by child."""

_ANNOUNCEMENTS_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Where a gateway was when it last closed an iteration."""

    above: Job  # the parent's job it was working for
    done: int  # iterations closed for it
    trained: int  # of these, the ones in which a member came
    model: str  # digest of the model after the last of them
    blob: bytes = field(repr=False)
    figures: Figures = field(default_factory=Figures)  # of the closed iterations
    rms: float = 0.0  # of the coordinates of the last deltas; 0 while unknown


@dataclass(slots=True, kw_only=True)
class _Assignment:
    job: Job
    head: Head
    members: tuple[Member, ...]
    repeats: int
    done: int
    trained: int
    reason: str  # of the last abstention from which it was heard why; empty where of none
    since_s: float  # when it was taken up
    start: bytes = field(repr=False)  # the blob of the model from above
    model: str
    blob: bytes = field(repr=False)
    figures: Figures
    gathered: Aggregate | None = None  # of task `gradient`, once it is


class TierAggregator:
    """One event in, the effects to perform out, in order."""

    def __init__(
        self,
        *,
        node: NodeId,
        parent: NodeId,
        tier: int,
        members: Iterable[NodeId],
        members_min: int,
        part_bytes: int,
        nonce: BootNonce,
        version: str = "",
        announced: Mapping[str, tuple[Member, ...]] | None = None,
        resume: Resume | None = None,
        spooled: Spooled | None = None,
        artefact: tuple[str, bytes] | None = None,
        saved: Iterable[Part] = (),
        metered: bool = False,
    ) -> None:
        """Begin before the first connection on either side.

        Args:
            node: This gateway's id, which also names its cell.
            parent: Its parent's id.
            tier: Its tier, 1 or more.
            members: Its children.
            members_min: How many of them must be there before it calls itself ready.
            part_bytes: How large a published part may be, header included.
            nonce: 64 fresh random bits of this boot.
            version: What to say of the software in presence.
            announced: Members by the digest under which an earlier boot announced them.
            resume: The last closed iteration of an earlier boot.
            spooled: The updates an earlier boot had accepted.
            artefact: The artefact an earlier boot installed: its digest and its blob.
            saved: Parts of another that it saved.
            metered: Whether the link to the parent has a budget.
        """
        self._node = node
        self._tier = tier
        self._presence = Presence(status="online", nonce=nonce, version=version)
        self.link = ChildLink(
            node=node, parent=parent, part_bytes=part_bytes, presence=self._presence,
            artefact="" if artefact is None else artefact[0], saved=saved, metered=metered,
        )  # fmt: skip
        self.cell = Cell(
            node=node, members=members, members_min=members_min, part_bytes=part_bytes, nonce=nonce
        )
        if artefact is not None:
            self.cell.equip(*artefact)
        self._installing: dict[str, bytes] = {}  # blobs on their way to the disk
        self._announced = dict(announced or {})
        self._resume = resume
        self._rms: tuple[RunId | None, float] = (
            (None, 0.0) if resume is None else (resume.above.run, resume.rms)
        )  # of the newest run's last deltas
        self._spooled = dict(spooled or {})
        self._waiting: Assigned | Keep | None = None
        self._work: _Assignment | None = None
        self._answering = False
        self._summing: dict[Job, Aggregate] = {}  # sums under way, some of them preempted

    @property
    def state(self) -> GatewayState:
        """What the gateway is doing."""
        if isinstance(self._waiting, Assigned):
            return "waiting"
        if self._work is None:
            return "idle"
        if self._answering:
            return "answering"
        return "collecting" if self.cell.state == "collecting" else "closing"

    @property
    def timer_s(self) -> float | None:
        """When a ``Tick`` is due."""
        times = (self.link.timer_s, self.cell.timer_s)
        return min((t for t in times if t is not None), default=None)

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take one event, return what the driver must now do, in order."""
        match event:
            case Connected(side="up"):
                return self._from_link(self.link.connected(now_s), now_s)
            case Connected():
                return self._from_cell(self.cell.connected(now_s), now_s)
            case Disconnected(side="up"):
                self.link.disconnected()
                return []
            case Disconnected():
                self.cell.disconnected()
                return []
            case Received(side="up"):
                return self._from_link(self.link.hear(event, now_s), now_s)
            case Received():
                items = self.cell.hear(event, now_s)
                return [*self._from_cell(items, now_s), *self._announce(now_s)]
            case Installed():
                return self._installed(event, now_s)
            case Allowance():
                return self._from_link(self.link.allow(event, now_s), now_s)
            case Aggregated():
                return self._aggregated(event, now_s)
            case WorkDone() | WorkFailed():
                return self._answer_made(event, now_s)
            case Hindered():
                raise AssertionError("a gateway works under no conditions")
            case Tick():
                below = self._from_cell(self.cell.tick(now_s), now_s)
                return [*below, *self._from_link(self.link.tick(now_s), now_s)]
            case _:
                assert_never(event)

    # From above

    def _from_link(self, items: list[LinkEffect], now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        for item in items:
            match item:
                case Assigned():
                    effects += self._take_up(item, now_s)
                case Keep():
                    effects += [item, *self._take_up(item, now_s)]
                case Install():
                    self._installing[item.artefact] = item.blob
                    effects.append(item)
                case Preempt():
                    self._waiting = None
                    self._set_aside()
                    effects += [item, *self._from_cell(self.cell.pause(now_s), now_s)]
                case _:
                    effects.append(item)
        above = self.link.head
        if above is not None and above.state == "paused":
            effects += self._from_cell(self.cell.pause(now_s), now_s)
        return effects

    def _installed(self, event: Installed, now_s: float) -> list[Effect]:
        """Have it for the cell before the head that names it is passed on."""
        assert event.artefact in self._installing, "an artefact that was not to be installed"
        blob = self._installing.pop(event.artefact)
        if not event.reason:
            self.cell.equip(event.artefact, blob)
        return self._from_link(self.link.installed(event, now_s), now_s)

    def _take_up(self, item: Assigned | Keep, now_s: float) -> list[Effect]:
        """Begin what the parent's head asks, once this cell is known to be one's own."""
        if self.cell.state == "looking":
            self._waiting = item
            return []
        reason = refusal(item.head, tier=self._tier)
        if isinstance(item, Assigned):
            return self._begin(item, reason, now_s)
        if reason is not None:
            return [Note(level="warning", event="head refused", fields={"reason": reason})]
        head = replace(
            item.head, path=item.head.path.child(0), tier=self._tier, members=(), spacing=0.0
        )
        return self._from_cell(self.cell.say(head, item.model, now_s), now_s)

    def _begin(self, assigned: Assigned, reason: str | None, now_s: float) -> list[Effect]:
        head = assigned.head
        member = head.member(self._node)
        assert member is not None, "only members are assigned work"
        members = self._announced.get(member.beneath, ())
        reason = reason or self._unable(head, member, members)
        if reason is not None:
            return self._from_link(self.link.abstain(assigned.job, reason, now_s), now_s)
        repeats = math.prod(head.plan.tau[self._tier : head.tier]) if head.task == "train" else 1
        self._work = _Assignment(
            job=assigned.job, head=head, members=members, repeats=repeats, done=0, trained=0,
            reason="", since_s=now_s, start=assigned.model, model=head.model, blob=assigned.model,
            figures=Figures(),
        )  # fmt: skip
        self._answering = False
        if self._rms[0] != head.run:
            self._rms = (head.run, 0.0)
        resume = self._resume
        if resume is not None and resume.above == assigned.job:
            self._work.done, self._work.trained = resume.done, resume.trained
            self._work.model, self._work.blob = resume.model, resume.blob
            self._work.figures = resume.figures
        return self._go_on(now_s)

    def _unable(self, head: Head, member: Member, members: tuple[Member, ...]) -> str | None:
        """Why the cell cannot work as admitted, if it cannot."""
        if not members:
            return f"members {member.beneath!r} were never announced from here"
        try:
            fixed_point_exponent(sum(m.weight for m in members), head.plan.range_bits)
        except ConfigError as error:
            return str(error)
        return None

    def _set_aside(self) -> None:
        """Stop working, but remember how far it came: a closed iteration is never opened again.

        What changes no model is asked for again: the answers are still there.
        """
        work, self._work = self._work, None
        self._answering = False
        if work is not None and work.head.task == "train":
            self._resume = Resume(
                above=work.job, done=work.done, trained=work.trained, model=work.model,
                blob=work.blob, figures=work.figures, rms=self._rms[1],
            )  # fmt: skip

    # Through the cell

    def _go_on(self, now_s: float) -> list[Effect]:
        """Open the next iteration, or answer the parent after the last."""
        work = self._work
        assert work is not None
        if work.done >= work.repeats:
            return [self._answer(work)]
        if _next_job(work.job, work.done, work.model) in self._summing:
            return []  # preempted while it was summed, and asked for again: the sum will come
        path = work.job.path.child(work.done)
        steps = math.prod(work.head.plan.tau[: self._tier])
        head = replace(
            work.head, path=path, model=work.model, tier=self._tier, members=work.members,
            first_step=work.head.first_step + work.done * steps,
        )  # fmt: skip
        head = replace(head, spacing=spacing_of(head, self._rms[1]))
        spooled = self._spooled.pop((head.run, path), {})
        return self._from_cell(self.cell.open(head, work.blob, now_s, spooled=spooled), now_s)

    def _from_cell(self, items: list[CellEffect], now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        for item in items:
            match item:
                case Looked():
                    waiting, self._waiting = self._waiting, None
                    if waiting is not None:
                        effects += self._take_up(waiting, now_s)
                case Collected():
                    effects += self._collected(item, now_s)
                case _:
                    effects.append(item)
        return effects

    def _collected(self, collected: Collected, now_s: float) -> list[Effect]:
        work = self._work
        assert work is not None
        head, came = collected.head, bool(collected.came)
        work.figures = work.figures.then(collected.figures)
        if collected.reasons:
            work.reason = ": ".join(collected.reasons[0])
        closed = {
            "path": str(head.path), "task": head.task, "answered": collected.answered,
            "members": len(head.members), "seconds": round(collected.seconds, 2),
        }  # fmt: skip
        note = Note(level="info", event="iteration closed", fields=closed)
        aggregate = Aggregate(
            job=collected.job, head=head, came=collected.came,
            admitted_weight=sum(m.weight for m in work.members), above=work.job,
            done=work.done + 1, trained=work.trained + came, seconds=collected.seconds,
            reasons=collected.reasons, rms=collected.rms or self._rms[1], model=work.blob,
            figures=work.figures,
        )  # fmt: skip
        if work.head.task != "train":
            work.done += 1
            work.trained += came
            work.gathered = aggregate if head.vectors else None
            return [note, *self._go_on(now_s)]
        self._summing[collected.job] = aggregate
        if came:
            return [note, aggregate]
        empty = Note(level="warning", event="empty iteration", fields={"path": str(head.path)})
        return [note, empty, aggregate]

    def _aggregated(self, event: Aggregated, now_s: float) -> list[Effect]:
        work, resume = self._work, self._resume
        summed = self._summing.pop(event.job, None)
        came, figures = (
            (False, Figures()) if summed is None else (bool(summed.came), summed.figures)
        )
        if summed is not None and summed.head.run == self._rms[0]:
            self._rms = (summed.head.run, summed.rms)
        if work is not None and event.job == _next_job(work.job, work.done, work.model):
            work.done += 1
            work.trained += came
            work.model, work.blob = event.model, event.blob
            return self._go_on(now_s)
        if resume is not None and event.job == _next_job(resume.above, resume.done, resume.model):
            self._resume = replace(
                resume, done=resume.done + 1, trained=resume.trained + came, model=event.model,
                blob=event.blob, figures=figures, rms=self._rms[1],
            )  # fmt: skip
            # it was preempted while it was summed, and is durable
        return [Note(level="debug", event="sum too late", fields={"path": str(event.job.path)})]

    def _answer(self, work: _Assignment) -> Answer:
        self._answering = True
        weight, reason = 0, ""
        if work.head.vectors:
            weight = sum(m.weight for m in work.members) if work.trained else 0
            reason = "" if work.trained else work.reason or "no member came"
        return Answer(
            job=work.job, head=work.head, weight=weight, reason=reason, start=work.start,
            end=work.blob, figures=self.cell.figures() + work.figures, gathered=work.gathered,
        )  # fmt: skip

    def _answer_made(self, event: WorkDone | WorkFailed, now_s: float) -> list[Effect]:
        work = self._work
        if work is None or not self._answering or work.job != event.job:
            path = str(event.job.path)
            return [Note(level="debug", event="answer too late", fields={"path": path})]
        self._set_aside()
        if isinstance(event, WorkFailed):
            abstained = self.link.abstain(event.job, event.reason, now_s, figures=event.figures)
            return self._from_link(abstained, now_s)
        fields = {
            "path": str(event.job.path), "task": event.job.task, "iterations": work.done,
            "seconds": round(now_s - work.since_s, 2), "bytes": len(event.blob),
        }  # fmt: skip
        note = Note(level="info", event="answered", fields=fields)
        return [note, *self._from_link(self.link.answer(event.job, event.blob, now_s), now_s)]

    # Upwards

    def _announce(self, now_s: float) -> list[Effect]:
        """Tell the parent what this cell amounts to, when that has changed."""
        roster = self.cell.roster
        present = roster.present()
        weight = sum(m.weight for m in present)
        ready = roster.ready >= roster.needed and weight <= WEIGHT_MAX
        beneath = digest_of_members(present) if ready else ""
        presence = replace(
            self._presence, ready=ready, beneath=beneath, weight=weight if ready else 0,
            devices=min(roster.devices(), WEIGHT_MAX),
        )  # fmt: skip
        if presence == self._presence:
            return []
        self._presence = presence
        effects: list[Effect] = []
        if ready and beneath not in self._announced:
            self._announced[beneath] = present
            while len(self._announced) > _ANNOUNCEMENTS_MAX:
                del self._announced[next(iter(self._announced))]
            effects.append(Remember(beneath=beneath, members=present))
        return [*effects, *self._from_link(self.link.announce(presence, now_s), now_s)]


def _next_job(above: Job, done: int, model: str) -> Job:
    """The job of the iteration that follows ``done`` closed ones for the parent's job."""
    return Job(run=above.run, path=above.path.child(done), task=above.task, base=model)
