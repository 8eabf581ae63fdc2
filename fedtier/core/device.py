"""The device's machine: obey the gateway's head, train or evaluate, offer the answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import assert_never

from fedtier.core.child import Assigned, ChildLink, ChildState, LinkEffect
from fedtier.core.effects import Effect, Job, Note, Work
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
from fedtier.core.refusal import refusal
from fedtier.ids import NodeId, RunId
from fedtier.limits import BOARD_AGAIN_S
from fedtier.wire.head import Head
from fedtier.wire.messages import Presence
from fedtier.wire.parts import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainee:
    """What a device can train: the artefact it holds; all empty where it holds none yet."""

    artefact: str = ""  # digest
    layout: str = ""  # digest of its parameter layout
    dimension: int = 0


class DeviceMachine:
    """One event in, the effects to perform out, in order."""

    def __init__(
        self,
        *,
        node: NodeId,
        parent: NodeId,
        part_bytes: int,
        presence: Presence,
        trainee: Trainee,
        saved: Iterable[Part] = (),
        patience_s: float = 60.0,
        metered: bool = False,
    ) -> None:
        """Begin before the first connection.

        Args:
            node: This device's id.
            parent: Its parent's.
            part_bytes: How large a published part may be, header included.
            presence: What to say of this device: its weight above all.
            trainee: The artefact it holds.
            saved: Parts of another that an earlier boot saved.
            patience_s: How long a round may wait for this device's board, >= 0.
            metered: Whether the link to the parent has a budget.
        """
        self._trainee = trainee
        self._presence = presence
        self._patience_s = patience_s
        self._work: Work | None = None  # the last that was asked for
        self._again_at_s: float | None = None  # then it is asked for again
        self._hindered_since: tuple[RunId, int, float] | None = None  # run, round, time
        self.link = ChildLink(
            node=node, parent=parent, part_bytes=part_bytes, presence=presence,
            artefact=trainee.artefact, saved=saved, metered=metered,
        )  # fmt: skip

    @property
    def state(self) -> ChildState:
        """Where the conversation with the parent is."""
        return self.link.state

    @property
    def timer_s(self) -> float | None:
        """When a ``Tick`` is due."""
        times = (self.link.timer_s, self._again_at_s)
        return min((t for t in times if t is not None), default=None)

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take one event, return what the driver must now do, in order."""
        match event:
            case Connected():
                return self._own(self.link.connected(now_s), now_s)
            case Disconnected():
                self.link.disconnected()
                return []
            case Received():
                return self._own(self.link.hear(event, now_s), now_s)
            case WorkDone():
                self._hindered_since = None
                return self._own(self.link.answer(event.job, event.blob, now_s), now_s)
            case WorkFailed():
                self._hindered_since = None
                return self._abstain(event.job, event.reason, event.figures, now_s)
            case Hindered():
                return self._hindered(event, now_s)
            case Installed():
                return self._installed(event, now_s)
            case Allowance():
                return self._own(self.link.allow(event, now_s), now_s)
            case Tick():
                return [*self._own(self.link.tick(now_s), now_s), *self._look_again(now_s)]
            case Aggregated():
                raise AssertionError("a device closes no iteration")
            case _:
                assert_never(event)

    def _installed(self, event: Installed, now_s: float) -> list[Effect]:
        """Train with it from now on; what the device weighs with it holds from the next round."""
        effects: list[Effect] = []
        if not event.reason:
            self._trainee = Trainee(
                artefact=event.artefact, layout=event.layout, dimension=event.dimension
            )
            presence = replace(self._presence, weight=event.weight)
            if presence != self._presence:
                self._presence = presence
                effects += self._own(self.link.announce(presence, now_s), now_s)
        return [*effects, *self._own(self.link.installed(event, now_s), now_s)]

    def _hindered(self, event: Hindered, now_s: float) -> list[Effect]:
        """Look again until patience ends, which a round has once and not each of its iterations."""
        if self.link.job != event.job:
            return [
                Note(level="debug", event="hindered too late", fields={"path": str(event.job.path)})
            ]
        where = (event.job.run, event.job.path.round)
        if self._hindered_since is None or self._hindered_since[:2] != where:
            self._hindered_since = (*where, now_s)
        until_s = self._hindered_since[2] + self._patience_s
        if event.lasting or now_s >= until_s:
            return self._abstain(event.job, event.reason, event.figures, now_s)
        self._again_at_s = min(now_s + BOARD_AGAIN_S, until_s)
        return []

    def _look_again(self, now_s: float) -> list[Effect]:
        if self._again_at_s is None or now_s < self._again_at_s:
            return []
        self._again_at_s = None
        if self._work is None or self.link.job != self._work.job:
            return []  # it is not wanted any more
        return [self._work]

    def _abstain(self, job: Job, reason: str, figures: Figures, now_s: float) -> list[Effect]:
        return self._own(self.link.abstain(job, reason, now_s, figures=figures), now_s)

    def _own(self, items: list[LinkEffect], now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        for item in items:
            if not isinstance(item, Assigned):
                effects.append(item)
                continue
            reason = self._refusal(item.head)
            if reason is None:
                self._work = Work(job=item.job, head=item.head, model=item.model)
                self._again_at_s = None
                effects.append(self._work)
            else:
                effects += self._own(self.link.abstain(item.job, reason, now_s), now_s)
        return effects

    def _refusal(self, head: Head) -> str | None:
        own = self._trainee
        if head.artefact != own.artefact:
            return self.link.equipment.reason(head.artefact)
        if (head.layout, head.dimension) != (own.layout, own.dimension):
            return f"layout {head.layout[:12]} is asked for, {own.layout[:12]} is here"
        return refusal(head, tier=0)
