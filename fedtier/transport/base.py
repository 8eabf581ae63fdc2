"""What the runtime asks of a transport, and what a transport tells it; no code, only shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes one client's sockets carried, over all its connections so far.

    MQTT headers, topics, acknowledgements, keep-alives, repeats and TLS records are in it; TCP and
    IP headers and retransmitted segments are not.
    """

    bytes_sent: int
    bytes_received: int
    estimated: bool = False  # True where the system has no byte counters: publishes only


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker publishes, at QoS 1, when this client is cut off without a farewell."""

    topic: str
    payload: bytes
    retain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who a client is to its broker: user name, password and certificates, all optional.

    Secrets come from files, never from a value in a configuration file.
    """

    username: str | None = None
    password_file: Path | None = None  # one line
    ca_file: Path | None = None  # PEM; for ``mqtts://``, in place of the system's authorities
    certificate_file: Path | None = None  # PEM; needs ``key_file``
    key_file: Path | None = None  # PEM, without a passphrase


ANONYMOUS = Credentials()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why an attempt to connect failed."""

    # unreachable: nobody answered, or not in MQTT 5. refused: the broker answered, and does not let
    # this client in. login refused: for who it is, or says it is. waiting: no attempt was made.
    kind: Literal["unreachable", "refused", "login refused", "waiting"]
    reason: str  # for a person to read


class Inbox(Protocol):
    """Takes what a transport has to tell.

    Called on the transport's own thread, one call at a time: an implementation only enqueues, and
    must neither block nor call the transport.
    """

    def connected(self) -> None:
        """A connection is up and every subscription was sent again; held messages follow."""

    def not_connected(self, trouble: Trouble) -> None:
        """An attempt to connect has failed; there will be others."""

    def disconnected(self, reason: str, *, taken_over: bool) -> None:
        """The connection of the last ``connected`` is gone.

        Args:
            reason: For a person to read.
            taken_over: The broker ended it because another client came with the same client id.
        """

    def message(self, topic: str, payload: bytes, retained: bool) -> None:
        """A message arrived; it may be a repeat, and nothing is promised about order."""

    def refused(self, topic: str, reason: str) -> None:
        """The broker did not let a message of QoS 1 pass: this client has no right to its topic.

        Args:
            topic: The message's; empty where it is not known any more.
            reason: The broker's own words.
        """

    def failed(self, error: BaseException) -> None:
        """The transport's thread has ended, by a bug or a disk: nothing more will ever come.

        Args:
            error: What it raised; perhaps out of this very inbox.
        """


class Transport(Protocol):
    """One MQTT client, towards one broker."""

    def start(self) -> None:
        """Begin to connect, and from now on reconnect for ever."""

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Hand one message over; never blocks, and promises no delivery.

        While not connected a message of QoS 0 is dropped and one of QoS 1 is held; what finds no
        room in the bounded queue is dropped too, except a retained message. ``dropped`` counts.

        Raises:
            LinkError: If the packet is larger than the broker takes or the configuration allows;
                the message names both numbers, and nothing was sent.
        """

    def reconnect(self) -> None:
        """End the connection, if there is one, and make another; what is queued stays queued."""

    def close(self, *, farewell: tuple[str, bytes] | None = None) -> None:
        """Publish a last retained message at QoS 1, disconnect cleanly and stop.

        Takes a bounded time whatever the broker does. Not to be called from an inbox.

        Args:
            farewell: Topic and payload; it replaces the will, which does not fire.
        """

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the current connection."""

    @property
    def packet_bytes_max(self) -> int:
        """The largest packet the broker takes, as far as it has said; header and topic included."""

    @property
    def queued_bytes(self) -> int:
        """Bytes handed over that the broker has not acknowledged; for pacing, not for promises."""

    @property
    def dropped(self) -> int:
        """Messages dropped at this end so far, for want of a connection or of room."""

    def traffic(self) -> Traffic:
        """Bytes over all connections so far, the current one included."""
