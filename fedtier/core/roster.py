"""Who belongs to a cell, who of them is there, and whether somebody else speaks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from fedtier.core.effects import Effect, Note, Send, Stop
from fedtier.errors import EXIT_CONFIG
from fedtier.ids import BootNonce, NodeId, hex64
from fedtier.limits import SECOND_PARENT_WAIT_S
from fedtier.wire.fields import to_json
from fedtier.wire.head import Member
from fedtier.wire.messages import Presence

MemberStanding = Literal["missing", "not_ready", "ready"]
"""ready: online, and with something to train with."""


def digest_of_members(members: Iterable[Member]) -> str:
    """A short name for a set of members, their weights and all that is beneath them."""
    rows = sorted([m.node, m.weight, m.beneath] for m in members)
    return hashlib.sha256(to_json({"members": rows})).hexdigest()[:16]


class Roster:
    """The children a parent may admit, and what each last said of itself."""

    def __init__(self, members: Iterable[NodeId], *, members_min: int) -> None:
        """Begin with nobody present.

        Args:
            members: Who may be admitted.
            members_min: How many of them must be ready before an iteration opens; at least 1.
        """
        self.members = tuple(sorted(members))
        self.needed = max(1, members_min)
        self._admissible = frozenset(self.members)
        self._presences: dict[NodeId, Presence] = {}

    def __contains__(self, node: NodeId) -> bool:
        return node in self._admissible

    def hear(self, child: NodeId, presence: Presence) -> list[Effect]:
        """Take a member's presence, and note what it changes.

        ``lost`` and ``leaving`` count only for the boot that was last seen: a will that a broker
        delivers late must not take away a child that is back.
        """
        known = self._presences.get(child)
        if presence.status == "online":
            self._presences[child] = presence
            return [] if presence == known else [_came(child, presence, known)]
        if known is None or known.nonce != presence.nonce:
            return []
        del self._presences[child]
        event = "member lost" if presence.status == "lost" else "member left"
        return [Note(level="info", event=event, fields={"node": child})]

    def standing(self, child: NodeId) -> MemberStanding:
        """Whether a member is there, and ready."""
        presence = self._presences.get(child)
        if presence is None:
            return "missing"
        return "ready" if _is_ready(presence) else "not_ready"

    @property
    def ready(self) -> int:
        """How many members are ready."""
        return sum(map(_is_ready, self._presences.values()))

    def present(self) -> tuple[Member, ...]:
        """The members that are online, ready and have something to train with, by name."""
        return tuple(
            Member(node=node, weight=presence.weight, beneath=presence.beneath)
            for node, presence in sorted(self._presences.items())
            if _is_ready(presence)
        )

    def presence(self, child: NodeId) -> Presence:
        """What a member that is there said last."""
        return self._presences[child]

    def devices(self) -> int:
        """How many devices the present members say are beneath them."""
        return sum(self._presences[member.node].devices for member in self.present())


def _is_ready(presence: Presence) -> bool:
    return presence.ready and presence.weight >= 1


def _came(child: NodeId, presence: Presence, known: Presence | None) -> Note:
    """Another boot, or another readiness, is news; other weights and numbers are details."""
    ready = _is_ready(presence)
    fields = {"node": child, "weight": presence.weight, "devices": presence.devices}
    if known is not None and (known.nonce, _is_ready(known)) == (presence.nonce, ready):
        return Note(level="debug", event="member changed", fields=fields)
    event = "member ready" if ready else "member not ready"
    return Note(level="info", event=event, fields=fields if ready else {"node": child})


class Lookout:
    """Finds out whether another parent speaks for the same cell.

    It may be a cloned card, or a second federation of that name on this broker. Whoever is heard is
    asked again before he is believed: a last word of this node's own earlier boot may arrive late,
    and more than once.
    """

    def __init__(self, *, node: NodeId, nonce: BootNonce) -> None:
        """Begin looking at the first connection."""
        self._node = node
        self._nonce = nonce
        self._until_s: float | None = None
        self._heard_itself = False  # since it last asked
        self._seen: BootNonce | None = None  # who was heard, and is asked again
        self.done = False

    @property
    def timer_s(self) -> float | None:
        """When nobody will have answered."""
        return self._until_s

    def presence(self) -> Send:
        """What this parent says of itself; ``ready`` once it holds the cell."""
        message = Presence(status="online", nonce=self._nonce, ready=self.done)
        return Send(side="down", message=message)

    def connected(self, now_s: float) -> list[Effect]:
        """Speak up, and listen for a while the first time."""
        if not self.done:
            self._until_s = now_s + SECOND_PARENT_WAIT_S
        return [self.presence()]

    def disconnected(self) -> None:
        """Nobody can be heard: a look that was under way begins again."""
        self._until_s = self._seen = None
        self._heard_itself = False

    def hear(self, presence: Presence, now_s: float, *, retained: bool) -> list[Effect]:
        """Take what was published as this cell's parent.

        No answers are: retained presences and wills, which may be of this node's last boot; and
        what comes before one's own question, which a broker may have kept from that boot.
        """
        if presence.nonce == self._nonce:
            self._heard_itself = True
            return []
        asking = not self.done or self._seen is not None
        if retained or (asking and not self._heard_itself):
            return []
        if presence.status != "online":  # a will has just replaced what this parent said
            return [self.presence()] if self.done else []
        if self._yields_to(presence) and self._seen != presence.nonce:
            self._seen, self._heard_itself = presence.nonce, False
            self._until_s = now_s + SECOND_PARENT_WAIT_S
            return [self.presence()]
        if self._yields_to(presence):
            reason = (
                f"cell {self._node!r} already has a parent: boot {hex64(presence.nonce)} answered "
                f"boot {hex64(self._nonce)}. Two machines share this id, or two federations of one "
                "name share this broker; stop one of them or rename it."
            )
            return [Stop(exit_code=EXIT_CONFIG, reason=reason)]
        boots = {"own": hex64(self._nonce), "other": hex64(presence.nonce)}
        return [Note(level="warning", event="second parent", fields=boots), self.presence()]

    def _yields_to(self, other: Presence) -> bool:
        """Who holds the cell stays; of two that are equal in that, the smaller nonce."""
        if other.ready != self.done:
            return other.ready
        return other.nonce < self._nonce

    def tick(self, now_s: float) -> bool:
        """Whether the look has just ended with nobody else in sight."""
        if self._until_s is None or now_s < self._until_s:
            return False
        looked = not self.done
        self._until_s = self._seen = None
        self.done = True
        return looked
