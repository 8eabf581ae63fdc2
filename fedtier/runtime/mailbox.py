"""What waits for the loop of a process, from any thread, in bounded memory."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass

from fedtier.core.effects import Side
from fedtier.core.events import Allowance, Connected, Event
from fedtier.errors import WireError
from fedtier.limits import MAILBOX_BYTES_MAX
from fedtier.transport.base import Trouble
from fedtier.wire.topics import PART_CHANNELS, Topic

_MESSAGE_BYTES = 256  # what a message takes besides its topic and payload, about


@dataclass(frozen=True, slots=True)
class Lost:
    """A side's connection is gone."""

    side: Side
    reason: str
    taken_over: bool


@dataclass(frozen=True, slots=True)
class NotConnected:
    """An attempt to connect a side has failed."""

    side: Side
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message came in, not yet looked at."""

    side: Side
    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A broker did not let a message of ours pass."""

    side: Side
    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A side's transport has ended by a bug."""

    side: Side
    error: BaseException


@dataclass(frozen=True, slots=True)
class Ended:
    """The process is to end."""

    exit_code: int
    reason: str


Item = Event | Lost | NotConnected | Arrived | Refused | Failed | Ended | Future[Event | None]


class Mailbox:
    """What waits for the loop; safe to fill from any thread.

    Messages beyond a number of bytes are dropped if they are parts of models and updates, which
    are asked for again, or nothing of this protocol. All else is small and rare, and has as much
    room again: only in a flood is it dropped too, as a broker would, and is said again later.
    """

    def __init__(self, *, bytes_max: int = MAILBOX_BYTES_MAX) -> None:
        """Begin empty.

        Args:
            bytes_max: Beyond this, waiting messages leave no room for another part.
        """
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._bytes_max = bytes_max
        self._lock = threading.Lock()  # the two numbers; never taken in a signal handler
        self._bytes = 0
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Messages dropped so far for want of room."""
        return self._dropped

    def put(
        self,
        item: Allowance | Connected | Lost | NotConnected | Refused | Failed | Future[Event | None],
    ) -> None:
        """Enqueue what is no message."""
        self._items.put(item)

    def end(self, exit_code: int, reason: str) -> None:
        """Have the loop end once it gets there; also allowed in a signal handler."""
        self._items.put(Ended(exit_code, reason))

    def arrive(self, message: Arrived) -> None:
        """Enqueue a message, or drop it where there is no room for its kind."""
        message_bytes = _bytes_of(message)
        with self._lock:
            bytes_max = self._bytes_max * (1 if _is_bulk(message.topic) else 2)
            if self._bytes + message_bytes > bytes_max:
                self._dropped += 1
                return
            self._bytes += message_bytes
        self._items.put(message)

    def get(self, timeout_s: float | None) -> Item | None:
        """The next item, or None when the time is over."""
        try:
            item = self._items.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(item, Arrived):
            with self._lock:
                self._bytes -= _bytes_of(item)
        return item

    def inbox(self, side: Side) -> SideInbox:
        """Where a transport of one side puts what it has to tell."""
        return SideInbox(self, side)


class SideInbox:
    """One transport's way into the mailbox."""

    def __init__(self, mailbox: Mailbox, side: Side) -> None:
        self._mailbox = mailbox
        self._side: Side = side

    def connected(self) -> None:
        """Enqueue."""
        self._mailbox.put(Connected(side=self._side))

    def not_connected(self, trouble: Trouble) -> None:
        """Enqueue."""
        self._mailbox.put(NotConnected(self._side, trouble))

    def disconnected(self, reason: str, *, taken_over: bool) -> None:
        """Enqueue."""
        self._mailbox.put(Lost(self._side, reason, taken_over))

    def message(self, topic: str, payload: bytes, retained: bool) -> None:
        """Enqueue, if there is room."""
        self._mailbox.arrive(Arrived(self._side, topic, payload, retained))

    def refused(self, topic: str, reason: str) -> None:
        """Enqueue."""
        self._mailbox.put(Refused(self._side, topic, reason))

    def failed(self, error: BaseException) -> None:
        """Enqueue."""
        self._mailbox.put(Failed(self._side, error))


def _bytes_of(message: Arrived) -> int:
    return _MESSAGE_BYTES + len(message.topic) + len(message.payload)


def _is_bulk(topic: str) -> bool:
    try:
        return Topic.parse(topic).channel in PART_CHANNELS
    except WireError:
        return True  # nobody misses it
