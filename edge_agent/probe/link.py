"""Round trip and rate to a broker: messages to a topic that only this probe uses, and back."""

from __future__ import annotations

import queue
import secrets
import statistics
import time
from dataclasses import dataclass
from typing import Literal

from edge_agent.probe.findings import Link, Missing
from fedtier.errors import LinkError
from fedtier.limits import PART_BYTES_DEFAULT, RECEIVE_MAXIMUM
from fedtier.transport.base import Credentials, Trouble
from fedtier.transport.mqtt import MqttTransport
from fedtier.wire.topics import PROBE_FILTER, probe_topic

_ANSWER_S = 5.0  # longer than any broker takes that lets a message pass
_SMALL_BYTES = 16
_ROUND_TRIPS = 50
_PARTS_MIN = 2 * RECEIVE_MAXIMUM


_Kind = Literal["connected", "not connected", "message", "refused", "lost"]


@dataclass(frozen=True, slots=True)
class _Told:
    """What the transport said, and when."""

    what: _Kind
    text: str
    size: int
    at_s: float


class _Inbox:
    """Hands on what the transport's thread tells."""

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[_Told] = queue.SimpleQueue()

    def connected(self) -> None:
        self._tell("connected")

    def not_connected(self, trouble: Trouble) -> None:
        self._tell("not connected", trouble.reason)

    def disconnected(self, reason: str, *, taken_over: bool) -> None:
        self._tell("lost", reason)

    def message(self, topic: str, payload: bytes, retained: bool) -> None:
        self._tell("message", topic, len(payload))

    def refused(self, topic: str, reason: str) -> None:
        self._tell("refused", reason)

    def failed(self, error: BaseException) -> None:
        self._tell("lost", str(error))

    def _tell(self, what: _Kind, text: str = "", size: int = 0) -> None:
        self.told.put(_Told(what, text, size, time.perf_counter()))


class _NoAnswer(Exception):
    """What was waited for did not come; the text says why."""


def measure_link(
    url: str,
    *,
    credentials: Credentials,
    end_s: float,
    part_bytes: int = PART_BYTES_DEFAULT,
) -> Link | Missing:
    """Send small messages one at a time, then parts, four at a time.

    Args:
        url: The broker's.
        credentials: Who we are to it.
        end_s: On the monotonic clock; what is not there by then is not waited for.
        part_bytes: Payload of a part.

    Raises:
        ConfigError: If the URL or a credential cannot be used.
    """
    inbox = _Inbox()
    nonce = secrets.token_hex(6)
    topic = probe_topic(nonce)
    transport = MqttTransport(
        url, f"probe.{nonce}", [(topic, 1)], inbox, credentials=credentials, session_expiry_s=0,
        where="--broker",
    )  # fmt: skip
    try:
        transport.start()
        _await(inbox, "connected", end_s=end_s)
        trips_s = _round_trips(transport, inbox, topic, end_s=_between(end_s, 0.4))
        parts, seconds = _parts(transport, inbox, topic, part_bytes=part_bytes, end_s=end_s)
    except _NoAnswer as error:
        return Missing(str(error))
    except LinkError as error:
        return Missing(f"the broker takes no parts of {part_bytes} bytes: {error}")
    finally:
        transport.close()
    return Link(
        round_trip_median_ms=1e3 * statistics.median(trips_s),
        round_trip_slowest_ms=1e3 * max(trips_s),
        round_trips=len(trips_s),
        bytes_per_s=parts * part_bytes / seconds,
        part_bytes=part_bytes,
        parts=parts,
    )


def _between(end_s: float, share: float) -> float:
    now_s = time.monotonic()
    return now_s + share * (end_s - now_s)


def _round_trips(
    transport: MqttTransport, inbox: _Inbox, topic: str, *, end_s: float
) -> list[float]:
    taken_s: list[float] = []
    while not taken_s or (len(taken_s) < _ROUND_TRIPS and time.monotonic() < end_s):
        began_s = time.perf_counter()
        transport.publish(topic, bytes(_SMALL_BYTES), qos=1, retain=False)
        taken_s.append(_await(inbox, "message", end_s=end_s).at_s - began_s)
    return taken_s


def _parts(
    transport: MqttTransport, inbox: _Inbox, topic: str, *, part_bytes: int, end_s: float
) -> tuple[int, float]:
    """How many parts came back, and in which time."""
    part = secrets.token_bytes(part_bytes)
    sent = came = 0
    began_s = last_s = time.perf_counter()
    while came < sent or came == 0:
        while sent - came < RECEIVE_MAXIMUM and (
            sent < _PARTS_MIN or time.monotonic() < _earlier(end_s)
        ):
            transport.publish(topic, part, qos=1, retain=False)
            sent += 1
        try:
            last_s = _await(inbox, "message", end_s=end_s).at_s
        except _NoAnswer:
            if came == 0:
                raise
            break  # the rest was too much for the time
        came += 1
    return came, last_s - began_s


def _earlier(end_s: float) -> float:
    """When the last part should go out, so that it is back by the end."""
    return end_s - 0.5


def _await(inbox: _Inbox, what: _Kind, *, end_s: float) -> _Told:
    """The next of its kind.

    Raises:
        _NoAnswer: If it does not come in time, or something else came that forbids it.
    """
    give_up_s = min(end_s, time.monotonic() + _ANSWER_S) if what == "message" else end_s
    last = ""
    while True:
        try:
            told = inbox.told.get(timeout=max(0.0, give_up_s - time.monotonic()))
        except queue.Empty:
            if what == "connected":
                raise _NoAnswer(f"not reached: {last or 'it did not answer in time'}") from None
            raise _NoAnswer(
                "a message did not come back in time: the way is slow, or this user may not read "
                f"{PROBE_FILTER}"
            ) from None
        match told.what:
            case "not connected":
                last = told.text
            case "refused":
                raise _NoAnswer(
                    f"refused by its rights ({told.text}): this user may not write {PROBE_FILTER}"
                )
            case "lost":
                raise _NoAnswer(f"the connection was lost: {told.text}")
            case _:
                if told.what == what:
                    return told
