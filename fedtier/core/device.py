"""The device's machine: obey the gateway's head, train or evaluate, offer the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from fedtier.core.child import Assigned, ChildLink, ChildState, LinkEffect
from fedtier.core.effects import Effect, Work
from fedtier.core.events import (
    Aggregated,
    Connected,
    Disconnected,
    Event,
    Installed,
    Received,
    Tick,
    WorkDone,
    WorkFailed,
)
from fedtier.core.refusal import refusal
from fedtier.ids import NodeId
from fedtier.wire.head import Head
from fedtier.wire.messages import Presence


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
    ) -> None:
        """Begin before the first connection.

        Args:
            node: This device's id.
            parent: Its parent's.
            part_bytes: How large a published part may be, header included.
            presence: What to say of this device: its weight above all.
            trainee: The artefact it holds.
        """
        self._trainee = trainee
        self._presence = presence
        self.link = ChildLink(
            node=node, parent=parent, part_bytes=part_bytes, presence=presence,
            artefact=trainee.artefact,
        )  # fmt: skip

    @property
    def state(self) -> ChildState:
        """Where the conversation with the parent is."""
        return self.link.state

    @property
    def timer_s(self) -> float | None:
        """When a ``Tick`` is due."""
        return self.link.timer_s

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
                return self._own(self.link.answer(event.job, event.blob, now_s), now_s)
            case WorkFailed():
                return self._own(
                    self.link.abstain(event.job, event.reason, now_s, figures=event.figures), now_s
                )
            case Installed():
                return self._installed(event, now_s)
            case Tick():
                return self._own(self.link.tick(now_s), now_s)
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

    def _own(self, items: list[LinkEffect], now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        for item in items:
            if not isinstance(item, Assigned):
                effects.append(item)
                continue
            reason = self._refusal(item.head)
            if reason is None:
                effects.append(Work(job=item.job, head=item.head, model=item.model))
            else:
                effects += self._own(self.link.abstain(item.job, reason, now_s), now_s)
        return effects

    def _refusal(self, head: Head) -> str | None:
        own = self._trainee
        if head.artefact != own.artefact:
            why = self.link.equipment.reason(head.artefact)
            return f"artefact {head.artefact[:12]} is asked for: {why}"
        if (head.layout, head.dimension) != (own.layout, own.dimension):
            return f"layout {head.layout[:12]} is asked for, {own.layout[:12]} is here"
        return refusal(head, tier=0)
