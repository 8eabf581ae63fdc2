"""The bounded queue in which messages of QoS 1 wait for a connection."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from fedtier.limits import MIB

QUEUE_BYTES_MAX = 64 * MIB
QUEUE_MESSAGES_MAX = 8192


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way out."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class HoldingQueue:
    """First in, first out; when full, the oldest bulk goes.

    What is dropped is asked for again by whoever lacks it, and old parts are the likeliest to be
    useless by then. A retained message is never dropped: it is the state of its topic, so a later
    one on the same topic takes its place, and there are few such topics.
    """

    def __init__(
        self, *, bytes_max: int = QUEUE_BYTES_MAX, messages_max: int = QUEUE_MESSAGES_MAX
    ) -> None:
        self._bytes_max = bytes_max
        self._messages_max = messages_max
        self._bulk: deque[tuple[int, Outgoing]] = deque()
        self._retained: dict[str, tuple[int, Outgoing]] = {}
        self._number = 0
        self._bulk_bytes = 0

    @property
    def bytes(self) -> int:
        """Payload bytes held."""
        retained_bytes = sum(len(held.payload) for _, held in self._retained.values())
        return self._bulk_bytes + retained_bytes

    def add(self, message: Outgoing) -> int:
        """Hold a message.

        Returns:
            How many older messages had to go, or 1 if this one is larger than the whole queue.
        """
        self._number += 1
        if message.retain:
            self._retained[message.topic] = (self._number, message)
            return 0
        self._bulk.append((self._number, message))
        self._bulk_bytes += len(message.payload)
        dropped = 0
        while self._bulk_bytes > self._bytes_max or len(self._bulk) > self._messages_max:
            self._bulk_bytes -= len(self._bulk.popleft()[1].payload)
            dropped += 1
        return dropped

    def first(self) -> Outgoing | None:
        """The oldest message, which stays."""
        held = self._oldest()
        return None if held is None else held[1]

    def pop(self) -> None:
        """Take the oldest message out."""
        held = self._oldest()
        assert held is not None, "an empty queue has no oldest message"
        if held[1].retain:
            del self._retained[held[1].topic]
        else:
            self._bulk.popleft()
            self._bulk_bytes -= len(held[1].payload)

    def holds(self, message: Outgoing) -> bool:
        """Whether this very message waits already."""
        return any(held == message for _, held in self._bulk)

    def forget_unreliable(self) -> int:
        """Take out what is not kept without a connection, QoS 0; returns how many there were."""
        kept = [(number, message) for number, message in self._bulk if message.qos]
        gone = len(self._bulk) - len(kept)
        self._bulk = deque(kept)
        self._bulk_bytes = sum(len(message.payload) for _, message in kept)
        return gone

    def _oldest(self) -> tuple[int, Outgoing] | None:
        first = (self._bulk[0],) if self._bulk else ()
        return min((*first, *self._retained.values()), key=lambda pair: pair[0], default=None)

    def drain(self) -> list[Outgoing]:
        """Hand out everything, oldest first, and be empty."""
        numbered = sorted([*self._bulk, *self._retained.values()], key=lambda pair: pair[0])
        self._bulk.clear()
        self._retained.clear()
        self._bulk_bytes = 0
        return [message for _, message in numbered]
