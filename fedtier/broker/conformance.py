"""What fedtier needs of any MQTT 5 broker, as checks that run against a URL.

Every check is a plain function that returns when the broker does as needed and raises
``NotConformant`` with a sentence when it does not. They say nothing of sessions, of the order of
messages, of noLocal, of acknowledgements or of ``$SYS``, because nothing in fedtier relies on
them. Each uses topics of its own below one prefix and leaves nothing retained there.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from fedtier.errors import FedtierError
from fedtier.limits import KIB, PART_BYTES_DEFAULT, TRANSFERS_AT_ONCE, WINDOW_PARTS
from fedtier.transport.base import ANONYMOUS, Credentials, Trouble, Will
from fedtier.transport.mqtt import MqttTransport

WAIT_S = 20.0
_CHILDREN = 20
_PARTS = TRANSFERS_AT_ONCE * WINDOW_PARTS // _CHILDREN  # together what a parent asks for at once


class NotConformant(FedtierError):
    """The broker does not do what fedtier needs of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The broker under examination.

    Args:
        url: Where it listens.
        part_bytes: The largest part the federation will send.
        credentials: Who we are to it.
        prefix: Topics are made below this; an ACL must allow it.
        wait_s: How long to wait for something that must come.
    """

    url: str
    part_bytes: int = PART_BYTES_DEFAULT
    credentials: Credentials = ANONYMOUS
    prefix: str = "fedtier/v1/conformance"
    wait_s: float = WAIT_S
    nonce: str = field(default_factory=lambda: secrets.token_hex(6))

    def topic(self, *levels: str) -> str:
        """A topic that only this examination uses."""
        return "/".join((self.prefix, self.nonce, *levels))


@dataclass(frozen=True, slots=True)
class Received:
    """One message that arrived."""

    topic: str
    payload: bytes
    retained: bool


class Client:
    """A transport and its inbox, which keeps everything and can be waited on."""

    def __init__(
        self, target: Target, name: str, *filters: str, qos: int = 1, will: Will | None = None
    ) -> None:
        self._changed = threading.Condition()
        self._received: list[Received] = []
        self._connections = self._losses = 0
        self._wait_s = target.wait_s
        self.taken_over = False
        self.transport = MqttTransport(
            target.url,
            f"{name}.{target.nonce}",
            [(topic_filter, qos) for topic_filter in filters],
            self,
            will=will,
            credentials=target.credentials,
            session_expiry_s=0,  # leave nothing behind
        )

    def connected(self) -> None:
        """See ``Inbox``."""
        with self._changed:
            self._connections += 1
            self._changed.notify_all()

    def not_connected(self, trouble: Trouble) -> None:
        """See ``Inbox``; the transport keeps it."""

    def disconnected(self, reason: str, *, taken_over: bool) -> None:
        """See ``Inbox``."""
        del reason
        with self._changed:
            self._losses += 1
            self.taken_over |= taken_over
            self._changed.notify_all()

    def message(self, topic: str, payload: bytes, retained: bool) -> None:
        """See ``Inbox``."""
        with self._changed:
            self._received.append(Received(topic, payload, retained))
            self._changed.notify_all()

    def refused(self, topic: str, reason: str) -> None:
        """See ``Inbox``; what counts is what arrives."""

    def failed(self, error: BaseException) -> None:
        """See ``Inbox``; the next publish raises it."""

    @property
    def received(self) -> list[Received]:
        """Everything so far."""
        with self._changed:
            return list(self._received)

    def wait(self, condition: Callable[[list[Received]], bool], otherwise: str) -> list[Received]:
        """Wait until the messages so far satisfy a condition.

        Raises:
            NotConformant: With ``otherwise``, if they do not in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self._received), self._wait_s):
                raise NotConformant(f"{otherwise} (waited {self._wait_s:g} s)")
            return list(self._received)

    def wait_for_payload(self, payload: bytes, otherwise: str) -> Received:
        """Wait for one message by its payload."""
        received = self.wait(lambda all_: any(m.payload == payload for m in all_), otherwise)
        return next(message for message in received if message.payload == payload)

    def wait_connected(self, times: int = 1) -> None:
        """Wait for so many connections since the start."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._connections >= times, self._wait_s):
                raise NotConformant(
                    f"no connection: {self.transport.trouble} (waited {self._wait_s:g} s)"
                )

    def wait_lost(self) -> None:
        """Wait for the end of a connection."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._losses > 0, self._wait_s):
                raise NotConformant("the connection was not ended")

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """See ``Transport.publish``."""
        self.transport.publish(topic, payload, qos=qos, retain=retain)


@contextlib.contextmanager
def client(
    target: Target, name: str, *filters: str, qos: int = 1, will: Will | None = None
) -> Iterator[Client]:
    """A connected client, closed at the end.

    A message of its own must have come back before it is handed out, so that its subscriptions
    are in force whatever order the broker handles connections in.
    """
    ready = target.topic("ready", name)
    made = Client(target, name, ready, *filters, qos=qos, will=will)
    made.transport.start()
    try:
        made.wait_connected()
        made.publish(ready, b"ready", qos=1)
        made.wait_for_payload(b"ready", "a client does not receive what it publishes to itself")
        yield made
    finally:
        made.transport.close()


def check_delivery_both_ways(target: Target) -> None:
    """QoS 1 in both directions, with payloads from empty to 64 KiB and to one whole part."""
    up, down = target.topic("up"), target.topic("down")
    sizes = sorted({0, 1, 4 * KIB, min(64 * KIB, target.part_bytes), target.part_bytes})
    with client(target, "parent", up) as parent, client(target, "child", down) as child:
        for sender, receiver, topic in ((child, parent, up), (parent, child, down)):
            for size in sizes:
                payload = _bytes(f"{topic} {size}", size)
                sender.publish(topic, payload)
                receiver.wait_for_payload(payload, f"a payload of {size} bytes did not arrive")


def check_qos_0(target: Target) -> None:
    """QoS 0 arrives where nothing is in its way: wants and acks go so."""
    topic = target.topic("child", "ack")
    with client(target, "parent") as parent, client(target, "child", topic, qos=0) as child:
        for number in range(20):
            parent.publish(topic, b"ack %d" % number, qos=0)
        child.wait(
            lambda all_: len({m.payload for m in all_ if m.topic == topic}) == 20,
            "of 20 messages of QoS 0 over a quiet connection some did not arrive",
        )


def check_wildcard(target: Target) -> None:
    """A ``+`` takes in one level and no more."""
    with client(target, "parent", target.topic("+", "update", "+")) as parent:
        parent.publish(target.topic("d1", "update", "0"), b"wanted")
        parent.publish(target.topic("d1", "update", "0", "deeper"), b"unwanted")
        parent.publish(target.topic("d1", "model", "0"), b"unwanted")
        parent.publish(target.topic("d2", "update", "7"), b"last")
        parent.wait_for_payload(b"wanted", "a topic that matches a filter with + did not arrive")
        parent.wait_for_payload(b"last", "a topic that matches a filter with + did not arrive")
        if any(message.payload == b"unwanted" for message in parent.received):
            raise NotConformant("a + took in more than one level")


def check_retained(target: Target) -> None:
    """A retained message is given to a late subscriber, replaced by the next, and cleared."""
    topic = target.topic("all", "head")
    with client(target, "parent") as parent, client(target, "early", topic) as early:
        for payload in (b"first", b"second"):
            parent.publish(topic, payload, retain=True)
            live = early.wait_for_payload(payload, "a retained message did not reach a subscriber")
            if live.retained:
                raise NotConformant("a live message was marked as retained")
        with client(target, "late", topic) as late:
            message = late.wait_for_payload(
                b"second", "a late subscriber did not get the retained message"
            )
            if not message.retained:
                raise NotConformant("a retained message was not marked as such")
            if any(other.payload == b"first" for other in late.received):
                raise NotConformant("a retained message survived the next on its topic")
        parent.publish(topic, b"", retain=True)
        early.wait(
            lambda all_: any(m.topic == topic and not m.payload for m in all_),
            "the clearing of a retained message did not arrive",
        )
        with client(target, "later", topic) as later:
            _assert_nothing(later, target, topic, "a retained message was given after its clearing")


def check_will_on_lost_connection(target: Target) -> None:
    """A client that is cut off is reported by its will, which is retained."""
    topic = target.topic("d1", "presence")
    will = Will(topic=topic, payload=b"lost")
    with client(target, "watcher", topic) as watcher:
        with client(target, "d1", will=will) as child:
            child.transport.abort()
        watcher.wait_for_payload(b"lost", "no will after a connection without DISCONNECT")
        with client(target, "late", topic) as late:
            late.wait_for_payload(b"lost", "a retained will was not given to a late subscriber")
        watcher.publish(topic, b"", retain=True)


def check_no_will_on_clean_disconnect(target: Target) -> None:
    """A client that says farewell is not reported as lost."""
    topic = target.topic("d1", "presence")
    will = Will(topic=topic, payload=b"lost")
    with client(target, "watcher", topic) as watcher:
        with client(target, "d1", will=will) as child:
            child.transport.close(farewell=(topic, b"offline"))
        watcher.wait_for_payload(b"offline", "the farewell did not arrive")
        _assert_nothing(watcher, target, topic, "a will after a clean disconnect", but=b"offline")
        watcher.publish(topic, b"", retain=True)


def check_return_without_session(target: Target) -> None:
    """A client that comes back subscribes anew, and gets retained and live messages."""
    head, topic = target.topic("all", "head"), target.topic("d1", "ack")
    with client(target, "parent") as parent:
        with client(target, "d1", head, topic) as child:
            child.transport.abort()
        parent.publish(head, b"head", retain=True)
        with client(target, "d1", head, topic) as child:
            child.wait_for_payload(b"head", "a client that came back missed the retained head")
            parent.publish(topic, b"live")
            child.wait_for_payload(b"live", "a client that came back misses live messages")
        parent.publish(head, b"", retain=True)


def check_takeover(target: Target) -> None:
    """The newest client of one client id wins, and the older one is cut off."""
    with client(target, "twin") as older:
        newer = Client(target, "twin")
        newer.transport.start()
        try:
            newer.wait_connected()
            older.wait_lost()
        finally:
            older.transport.abort()
            newer.transport.close()


def check_many_children(target: Target) -> None:
    """Twenty children send their parts at once, as much as a parent ever asks for."""
    up = target.topic("+", "update", "+")
    with client(target, "parent", up) as parent, contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(client(target, f"d{number}")) for number in range(_CHILDREN)
        ]
        expected = set()
        for number, child in enumerate(children):
            for part in range(_PARTS):
                topic = target.topic(f"d{number}", "update", str(part))
                payload = _bytes(topic, target.part_bytes)
                expected.add((topic, payload))
                child.publish(topic, payload)
        parent.wait(
            lambda all_: expected <= {(m.topic, m.payload) for m in all_},
            f"of {len(expected)} parts of {target.part_bytes} bytes from {_CHILDREN} children, "
            "sent at once, some did not arrive",
        )


Check = Callable[[Target], None]

CHECKS: tuple[Check, ...] = (
    check_delivery_both_ways,
    check_qos_0,
    check_wildcard,
    check_retained,
    check_will_on_lost_connection,
    check_no_will_on_clean_disconnect,
    check_return_without_session,
    check_takeover,
    check_many_children,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check."""

    name: str
    need: str  # what fedtier needs, in one sentence
    fault: str | None  # None = the broker does so


def examine(target: Target, checks: Sequence[Check] = CHECKS) -> Iterator[Finding]:
    """Run the checks one after the other, and report each as it ends."""
    for check in checks:
        fault = None
        try:
            check(target)
        except FedtierError as error:
            fault = str(error)
        need = (check.__doc__ or "").strip().splitlines()[0]
        yield Finding(name=check.__name__.removeprefix("check_"), need=need, fault=fault)


def _bytes(seed: str, size: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


def _assert_nothing(
    receiver: Client, target: Target, topic: str, fault: str, *, but: bytes | None = None
) -> None:
    """Nothing came on a topic; a marker sent through the broker takes the place of a wait."""
    marker = target.topic("ready", "marker")
    with client(target, "marker", marker) as other:
        # Two round trips of another connection: what was going to be sent has been sent.
        for payload in (b"one", b"two"):
            other.publish(marker, payload)
            other.wait_for_payload(payload, "a client does not receive what it publishes to itself")
    if any(m.topic == topic and m.payload != but for m in receiver.received):
        raise NotConformant(fault)
