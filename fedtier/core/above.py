"""Whether the parent is there: its going and coming are told, and nobody waits for it mutely."""

from __future__ import annotations

from typing import Final

from fedtier.core.effects import Note
from fedtier.core.waiting import PARENT, Waiting
from fedtier.ids import NodeId
from fedtier.wire.messages import Presence

_WORDS: Final = {"lost": "parent lost", "leaving": "parent left"}


class Above:
    """What is known of the parent by its presence, while its broker is there.

    Where the broker itself is gone nothing is said here: that is the driver's to tell.
    """

    def __init__(self, parent: NodeId) -> None:
        """Begin knowing nothing.

        Args:
            parent: Its id, for people.
        """
        self._parent = parent
        self._known: Presence | None = None  # what it said on this connection
        self._alive = False
        self._gone: Presence | None = None  # what was told of its going
        self._gone_s = 0.0  # when that was heard
        self._waiting = Waiting()
        self._waited = False  # and that was said

    @property
    def timer_s(self) -> float | None:
        """When ``wait`` is next due, if the connection is up."""
        return self._waiting.timer_s

    def connected(self) -> None:
        """Take nothing for known: what the broker keeps of the parent comes at once."""
        self._known = None
        self._alive = False
        self._waiting = Waiting()

    def speaks(self, now_s: float) -> list[Note]:
        """Take a message that no broker keeps; a session may, so a presence weighs more."""
        return self._is_there(now_s) if self._known is None else []

    def hear(self, presence: Presence, now_s: float) -> list[Note]:
        """Take what the parent, or its broker for it, says of itself."""
        known, online = self._known, presence.status == "online"
        if not online and known is not None and known.nonce != presence.nonce and self._alive:
            return []  # the will of an earlier boot: another one is there
        self._known = presence
        if online:
            return self._is_there(now_s)
        self._alive = False
        if self._gone is not None and self._gone.status == presence.status:
            return []
        if self._gone is None:
            self._gone_s = now_s
        self._gone = presence
        fields = {"parent": self._parent}
        return [Note(level="info", event=_WORDS[presence.status], fields=fields)]

    def wait(self, now_s: float, *, wanted: bool) -> list[Note]:
        """Say that the parent is missing where that has taken long, unless nothing needs it."""
        self._waiting.wait_for(PARENT if wanted and not self._alive else None, now_s)
        if not self._waiting.is_due(now_s):
            return []
        self._waited = True
        fields = {"parent": self._parent, "seconds": round(self._waiting.seconds(now_s))}
        return [Note(level="info", event="waiting for parent", fields=fields)]

    def _is_there(self, now_s: float) -> list[Note]:
        self._alive = True
        gone, self._gone = self._gone, None
        waited, self._waited = self._waited, False
        if gone is not None:
            fields = {"parent": self._parent, "seconds": round(now_s - self._gone_s)}
            return [Note(level="info", event="parent is back", fields=fields)]
        if waited:
            return [Note(level="info", event="parent is there", fields={"parent": self._parent})]
        return []
