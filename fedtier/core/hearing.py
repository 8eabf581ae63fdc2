"""Whether a connection that is up still brings anything.

A broker may stop delivering to one connection and yet keep it up: mosquitto 2.0.11 does when it
has dropped messages of both qualities of service in a flood, for as long as the connection lasts
(tried). A new connection heals it.
"""

from __future__ import annotations

from fedtier.core.effects import Effect, Note, Reconnect, Side
from fedtier.limits import DEAF_BEACONS
from fedtier.wire.head import Head


class Hearing:
    """Misses what a cell's parent says every ``beacon_s`` at QoS 1: to its children, and to itself.

    Only who has heard it can miss it.
    """

    def __init__(self, side: Side) -> None:
        """Begin having heard nothing on this side."""
        self._side = side
        self._ever = False  # whether anything was heard
        self._patience_s: float | None = None  # while there is something to be heard
        self._due_s = 0.0

    @property
    def timer_s(self) -> float | None:
        """When ``tick`` is next due, if the connection is up."""
        return None if self._patience_s is None else self._due_s

    def connected(self, now_s: float) -> None:
        """Give a new connection its time."""
        if self._patience_s is not None:
            self._due_s = now_s + self._patience_s

    def heard(self, head: Head | None, now_s: float) -> None:
        """Expect as much again of the parent that said this head; None: nothing is to be heard."""
        self._ever = True
        self._patience_s = None if head is None else DEAF_BEACONS * head.plan.beacon_s
        self.connected(now_s)

    def delivers(self, now_s: float) -> None:
        """Something else came at QoS 1: what the parent says may be behind it, on a slow line."""
        self.connected(now_s)

    def expect(self, head: Head, now_s: float) -> None:
        """Expect what this head's parent will say, if it was ever heard; what is due stays due."""
        if self._ever and self._patience_s is None:
            self.heard(head, now_s)

    def tick(self, now_s: float) -> list[Effect]:
        """Ask for a new connection when nothing has been heard for too long."""
        if self._patience_s is None or now_s < self._due_s:
            return []
        self.connected(now_s)
        fields = {"side": self._side, "seconds": self._patience_s}
        note = Note(level="warning", event="nothing is delivered", fields=fields)
        return [note, Reconnect(side=self._side)]
