"""What a transport asks before bytes cross its connection; no code, only shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from fedtier.transport.base import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """No connection may be made yet."""

    seconds: float  # until it is worth to ask again
    reason: str  # for a person to read


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """The connection must end now.

    ``quietly``: without the will, for this client is soon back and counts as being there.
    """

    reason: str  # for a person to read
    quietly: bool


Passage = Literal["pass", "drop"] | float
"""A message may go; it must not; or so many seconds later, in which it keeps its place."""


class Gate(Protocol):
    """Decides what may cross one client's connection, and counts what did.

    Asked on the transport's thread alone, and told there of every byte. With a gate a client takes
    one message of QoS 1 at a time, so that no more than it is on its way when the gate looks.
    """

    def wait(self, *, wanted: bool) -> Wait | None:
        """Whether a connection may be made now; None = yes.

        Args:
            wanted: Whether there is something to say, rather than only to hear.
        """

    def opened(self) -> None:
        """The broker has accepted a connection."""

    def look(self, traffic: Traffic, *, settled: bool, queued: bool) -> Leave | None:
        """Count, and say whether the connection must end; asked after whatever crossed it.

        Args:
            traffic: Over all connections so far.
            settled: Whether the broker has acknowledged all that was handed over.
            queued: Whether something waits to be sent.
        """

    def passage(self, topic: str, payload: bytes, *, qos: int) -> Passage:
        """Whether a message may be handed over to the socket; ``look`` was asked just before."""

    def heard(self, topic: str, payload: bytes) -> None:
        """A message arrived; the inbox is told of it after this."""

    def closed(self, traffic: Traffic) -> None:
        """The connection, or the attempt to make one, has ended."""
