"""Who belongs to a cell, who of them is there, and whether somebody else speaks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from fedtier.core.effects import Effect, Note, Send, Stop
from fedtier.errors import EXIT_CONFIG
from fedtier.ids import BootNonce, NodeId, hex64
from fedtier.limits import SECOND_PARENT_WAIT_S
from fedtier.wire.fields import to_json
from fedtier.wire.messages import Member, Presence


def digest_of_members(members: Iterable[Member]) -> str:
    """A short name for a set of members, their weights and all that is beneath them."""
    rows = sorted([m.node, m.weight, m.beneath] for m in members)
    return hashlib.sha256(to_json({"members": rows})).hexdigest()[:16]


class Roster:
    """The children a parent may admit, and what each last said of itself."""

    def __init__(self, members: Iterable[NodeId]) -> None:
        """Begin with nobody present."""
        self._members = frozenset(members)
        self._presences: dict[NodeId, Presence] = {}

    def __contains__(self, node: NodeId) -> bool:
        return node in self._members

    def hear(self, child: NodeId, presence: Presence) -> bool:
        """Take a member's presence; says whether it changed anything.

        ``lost`` and ``leaving`` count only for the boot that was last seen: a will that a broker
        delivers late must not take away a child that is back.
        """
        known = self._presences.get(child)
        if presence.status == "online":
            self._presences[child] = presence
            return known != presence
        if known is not None and known.nonce == presence.nonce:
            del self._presences[child]
            return True
        return False

    def present(self) -> tuple[Member, ...]:
        """The members that are online, ready and have something to train with, by name."""
        return tuple(
            Member(node=node, weight=presence.weight, beneath=presence.beneath)
            for node, presence in sorted(self._presences.items())
            if presence.ready and presence.weight >= 1
        )

    def devices(self) -> int:
        """How many devices the present members say are beneath them."""
        return sum(self._presences[member.node].devices for member in self.present())


class Lookout:
    """Finds out whether another parent speaks for the same cell.

    It may be a cloned card, or a second federation of that name on this broker.
    """

    def __init__(self, *, node: NodeId, nonce: BootNonce) -> None:
        """Begin looking at the first connection."""
        self._node = node
        self._nonce = nonce
        self._until_s: float | None = None
        self._heard_itself = False
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
        self._until_s = None
        self._heard_itself = False

    def hear(self, presence: Presence, *, retained: bool) -> list[Effect]:
        """Take what was published as this cell's parent.

        No answers are: retained presences and wills, which may be of this node's last boot; and
        what comes before one's own question, which a broker may have kept from that boot.
        """
        if presence.nonce == self._nonce:
            self._heard_itself = True
            return []
        if retained or not (self.done or self._heard_itself):
            return []
        if presence.status != "online":  # a will has just replaced what this parent said
            return [self.presence()] if self.done else []
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
        self._until_s = None
        self.done = True
        return True
