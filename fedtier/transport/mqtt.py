"""An MQTT 5 client on paho-mqtt; the only file that imports paho.

The thread is ours, and drives paho by its interface for foreign loops (``loop_read``,
``loop_write``, ``loop_misc``). paho's own thread sleeps through a close, doubles its waits instead
of jittering them, watches sockets with ``select`` (which ends at descriptor 1023), waits a whole
keep-alive for a broker that never answers, and leaves its wake-up sockets open.

What paho does not do and this file therefore does:

* a PUBLISH never overtakes the CONNECT: while not connected, messages are held here;
* the queue is bounded in bytes, connected or not (``holding.py``);
* after a reconnect what was not acknowledged is sent again under the same bound; paho alone would
  send all of it at once, past its own window. The receiver may see repeats;
* callbacks only enqueue, and nothing here takes a lock inside an acknowledgement's callback.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fedtier.errors import FedtierError
from fedtier.limits import KEEPALIVE_S, KIB, PART_BYTES_MAX, RECEIVE_MAXIMUM, SESSION_EXPIRY_S
from fedtier.transport.address import parse_url
from fedtier.transport.backoff import Backoff
from fedtier.transport.base import ANONYMOUS, Credentials, Inbox, Traffic, Trouble, Will
from fedtier.transport.credentials import read_password, tls_context
from fedtier.transport.gate import Gate
from fedtier.transport.holding import QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, HoldingQueue, Outgoing
from fedtier.transport.packet_size import (
    PACKET_BYTES_MAX,
    check_packet_bytes,
    publish_packet_bytes,
)
from fedtier.transport.takeover import TakeoverWatch
from fedtier.transport.traffic import TrafficMeter

log = logging.getLogger(__name__)

CLOSE_S = 2.0  # for the farewell to be acknowledged, and again for the thread to end
_CONNECT_S = 5.0
_CONNACK_S = 10.0
_TICK_S = 1.0  # how often paho looks at its keep-alive
_INBOUND_BYTES_MAX = PART_BYTES_MAX + 64 * KIB
_SESSION_TAKEN_OVER = 0x8E
_KEEPALIVE_TIMEOUT = 0x8D
# bad user name or password, not authorized, bad authentication method
_LOGIN_REFUSED = frozenset({0x86, 0x87, 0x8C})
_WITH_WILL = ReasonCode(PacketTypes.DISCONNECT, identifier=0x04)  # the broker publishes the will
_INFLIGHT = RECEIVE_MAXIMUM  # no more than this stands before a control message on a slow link


class MqttTransport:
    """One client of one broker; see ``base.Transport`` for what its methods promise.

    Args:
        url: ``mqtt://host[:port]`` or ``mqtts://host[:port]``.
        client_id: Unique on the broker; a node's id, or towards its children
            ``<id>.cell.<nonce8>``, with the first 8 digits of this boot's nonce.
        subscriptions: Filters with their QoS, sent again on every connect.
        inbox: Told of connections and messages, on this transport's thread.
        will: Published by the broker when the connection ends without ``close``.
        credentials: User, password file, certificates.
        keepalive_s: A connection that has gone silent is noticed within twice this by the client,
            and after 1.5 times this by the broker.
        session_expiry_s: How long the broker keeps the session after a disconnect. Nothing in the
            protocol relies on it; it saves repeats over a short break.
        gate: What may cross the connection; None = everything. With one the broker keeps no
            session, for what it held would come unasked, and sends one message of QoS 1 at a time.
        packet_bytes_max: A limit below the one the broker announces; None = the broker's alone.
        queue_bytes_max: Payload bytes waiting for an acknowledgement or a connection, at most.
        where: What to name in errors about ``url`` and ``credentials``.

    Raises:
        ConfigError: If the URL is malformed, or a credential file is missing or unusable.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        subscriptions: Sequence[tuple[str, int]],
        inbox: Inbox,
        *,
        will: Will | None = None,
        credentials: Credentials = ANONYMOUS,
        keepalive_s: int = KEEPALIVE_S,
        session_expiry_s: int = SESSION_EXPIRY_S,
        gate: Gate | None = None,
        packet_bytes_max: int | None = None,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
        where: str = "broker URL",
    ) -> None:
        self._address = parse_url(url, where=where)
        self.client_id = client_id
        self.will = will
        self.credentials = credentials
        self.subscriptions = tuple(subscriptions)
        self._inbox = inbox
        self._gate = gate
        self._queue_bytes_max = queue_bytes_max
        self._configured_bytes_max = packet_bytes_max or PACKET_BYTES_MAX
        self._announced_bytes_max = PACKET_BYTES_MAX

        self._lock = threading.Lock()  # connected, the queues, and publishing itself
        self._connected = False
        self._held = HoldingQueue(bytes_max=queue_bytes_max)
        self._unacknowledged: deque[tuple[paho.MQTTMessageInfo, int]] = deque()
        self._unacknowledged_bytes = 0
        self._on_way: dict[int, Outgoing] = {}  # what is not acknowledged, by packet id
        self._dropped = 0
        self._closed = False

        self._meter = TrafficMeter()
        self._backoff = Backoff()
        self._trouble: str | None = None
        self._why: str | None = None  # the present connection, or attempt, ends
        self._failure: BaseException | None = None
        self._takeover = TakeoverWatch()
        self._taken_over = False  # the broker said so
        self._silent = False  # the last connection ended without a DISCONNECT
        self._hung_up = False  # it ended because the gate said so
        self._accepted_s = 0.0
        self._refused: ReasonCode | None = None  # the broker's answer, if it was that
        self._closing = threading.Event()
        self._renewing = threading.Event()
        self._clean = True
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"mqtt {client_id}", daemon=True)
        try:
            self._client = self._make_client(will, credentials, where)
        except BaseException:
            self._close_wake()
            raise
        self._client.connect_async(
            self._address.host,
            self._address.port,
            keepalive_s,
            clean_start=gate is not None,
            properties=_connect_properties(
                session_expiry_s if gate is None else 0,
                receive_maximum=RECEIVE_MAXIMUM if gate is None else 1,
            ),
        )

    def _make_client(self, will: Will | None, credentials: Credentials, where: str) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, self.client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        client.connect_timeout = _CONNECT_S
        client.max_inflight_messages_set(_INFLIGHT)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        if credentials.username is not None:
            client.username_pw_set(credentials.username, read_password(credentials, where=where))
        if self._address.tls:
            client.tls_set_context(tls_context(credentials, where=where))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        # With this set, paho leaves all writing to our loop; without it, it would write to the
        # socket from whichever thread publishes, beside the loop.
        client.on_socket_register_write = _leave_writing_to_the_loop
        return client

    # The interface

    def start(self) -> None:
        """Begin to connect, and from now on reconnect for ever."""
        assert not self._closed, "start after close"
        self._thread.start()

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Hand one message over; see ``Transport.publish``.

        Raises:
            LinkError: If the packet is larger than the broker takes or the configuration allows.
            FedtierError: What the gate met, such as a disk that does not take its record.
        """
        assert qos in (0, 1), qos
        if isinstance(self._failure, FedtierError):
            raise self._failure
        if self._failure is not None:
            raise RuntimeError("the transport's thread ended") from self._failure
        limit_bytes = self.packet_bytes_max
        check_packet_bytes(topic, len(payload), qos=qos, limit_bytes=limit_bytes)
        message = Outgoing(topic, payload, qos, retain)
        with self._lock:
            assert not self._closed, "publish after close"
            if self._connected and self._gate is None:
                self._send(message)
            elif qos == 0 and not self._connected:
                self._dropped += 1
            elif self._gate is None or not self._is_under_way(message):
                self._dropped += self._held.add(message)
        self._wake()

    def reconnect(self) -> None:
        """End the connection, if there is one, and make another; what is queued stays queued."""
        self._renewing.set()
        self._wake()

    def close(self, *, farewell: tuple[str, bytes] | None = None) -> None:
        """Send what is queued and then the farewell, disconnect and stop; see ``Transport.close``.

        Takes at most about twice ``CLOSE_S``, or one attempt to connect if that is under way.
        """
        last: paho.MQTTMessageInfo | None = None
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # With a gate a farewell is held in reserve.
            if self._connected and farewell is not None:
                self._send(Outgoing(*farewell, qos=1, retain=True))
            if self._connected and self._unacknowledged:
                last = self._unacknowledged[-1][0]
        self._wake()
        if last is not None:
            # A message that failed is one that this connection will not deliver: go on closing.
            with contextlib.suppress(ValueError, RuntimeError):
                last.wait_for_publish(CLOSE_S)
        self._end_thread()

    def abort(self) -> None:
        """Cut the connection as a crash would: no farewell, no DISCONNECT, so the will fires."""
        with self._lock:
            self._closed = True
        self._clean = False
        self._end_thread()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the current connection."""
        return self._connected

    @property
    def packet_bytes_max(self) -> int:
        """The largest packet the broker takes; known once ``connected``."""
        return min(self._configured_bytes_max, self._announced_bytes_max)

    @property
    def queued_bytes(self) -> int:
        """Payload bytes handed over that the broker has not acknowledged."""
        with self._lock:
            self._forget_acknowledged()
            return self._unacknowledged_bytes + self._held.bytes

    @property
    def dropped(self) -> int:
        """Messages dropped at this end so far, for want of a connection or of room."""
        return self._dropped

    @property
    def trouble(self) -> str | None:
        """Why there is no connection now, for a person to read; None while there is one."""
        return self._trouble

    def traffic(self) -> Traffic:
        """Bytes over all connections so far, the current one included."""
        return self._meter.total()

    # Sending; the lock is held

    def _send(self, message: Outgoing) -> None:
        self._forget_acknowledged()
        full = (
            len(self._unacknowledged) >= QUEUE_MESSAGES_MAX
            or self._unacknowledged_bytes + len(message.payload) > self._queue_bytes_max
        )
        if full and not message.retain:
            self._dropped += 1
            return
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        self._unacknowledged.append((info, len(message.payload)))
        self._unacknowledged_bytes += len(message.payload)
        if message.qos:
            self._on_way[info.mid] = message
        self._meter.published(
            publish_packet_bytes(message.topic, len(message.payload), qos=message.qos)
        )

    def _is_under_way(self, message: Outgoing) -> bool:
        """Whether it waits to go, or to be acknowledged: on a slow link it is not said again."""
        return self._held.holds(message) or message in self._on_way.values()

    def _forget_acknowledged(self) -> None:
        while self._unacknowledged:
            info, payload_bytes = self._unacknowledged[0]
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS or not info.is_published():
                return
            self._unacknowledged.popleft()
            self._unacknowledged_bytes -= payload_bytes

    # The thread

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                if not self._may_connect():
                    continue
                self._connect_and_serve()
                if not self._hung_up:  # else the gate says when to come back
                    self._closing.wait(self._backoff.next_s())
        except BaseException as error:
            self._failure = error  # the driver is told, and so is the next publisher
            self._inbox.failed(error)
            if not isinstance(error, FedtierError):
                raise  # a bug

    def _may_connect(self) -> bool:
        """Ask the gate, and let a moment pass where it says no."""
        if self._gate is None:
            return True
        with self._lock:
            wanted = self._renewing.is_set() or self._held.first() is not None
        wait = self._gate.wait(wanted=wanted)
        if wait is None:
            return True
        self._not_connected(Trouble(kind="waiting", reason=wait.reason))
        self._closing.wait(min(wait.seconds, _TICK_S))
        return False

    def _connect_and_serve(self) -> None:
        began_s = time.monotonic()
        self._taken_over = self._silent = self._hung_up = False
        self._why = self._refused = None
        self._renewing.clear()
        try:
            self._client.reconnect()
        except OSError as error:
            self._trouble = f"cannot reach {self._address}: {_explain(error)}"
            self._takeover.attempt_failed()
            self._not_connected(Trouble(kind="unreachable", reason=_explain(error)))
            return
        try:
            self._serve(connack_by_s=began_s + _CONNACK_S)
        finally:
            if self._gate is not None:
                self._gate.closed(self._meter.total())
            self._lost()
        self._backoff.lived(time.monotonic() - began_s)

    def _serve(self, *, connack_by_s: float) -> None:
        client = self._client
        leaving = False
        patience_s = _TICK_S
        with selectors.DefaultSelector() as selector:
            sock = client.socket()
            if sock is None:
                return
            selector.register(sock, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while client.socket() is not None:
                # What is left at the gate is not read any more: nothing may come but what is there.
                reads = self._gate is None or not leaving
                wanted = selectors.EVENT_READ if reads else 0
                if client.want_write() or not reads:
                    wanted |= selectors.EVENT_WRITE
                selector.modify(sock, wanted)
                # Decrypted bytes wait inside the TLS layer, where no selector sees them.
                buffered = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
                ready = {key.fileobj for key, _ in selector.select(0 if buffered else patience_s)}
                if self._wake_read in ready:
                    self._drain_wake()
                if reads and (sock in ready or buffered):
                    client.loop_read()
                if client.want_write():
                    client.loop_write()
                client.loop_misc()
                if self._gate is not None and self._connected and not leaving:
                    leaving = self._must_leave(self._gate)
                    patience_s = _TICK_S if leaving else self._pass_on(self._gate)
                overdue = not self._connected and time.monotonic() > connack_by_s
                if overdue and self._refused is None:
                    self._why = f"{self._address} does not answer MQTT 5"
                if leaving:
                    continue  # until the DISCONNECT is out
                if self._closing.is_set() and self._connected and self._clean:
                    leaving = True
                    client.disconnect()
                elif overdue or self._refused is not None or self._closing.is_set():
                    _cut(sock)
                elif self._renewing.is_set():
                    self._why = f"a new connection to {self._address} is wanted"
                    _cut(sock)

    def _must_leave(self, gate: Gate) -> bool:
        """Let the gate count, and end the connection if it says so."""
        with self._lock:
            self._forget_acknowledged()
            settled = not self._unacknowledged and not self._client.want_write()
            queued = self._held.first() is not None
        leave = gate.look(self._meter.total(), settled=settled, queued=queued)
        if leave is None:
            return False
        self._why, self._hung_up = leave.reason, True
        self._client.disconnect(None if leave.quietly else _WITH_WILL)
        return True

    def _pass_on(self, gate: Gate) -> float:
        """Send what waits, as far as the gate lets it pass; returns how long to wait for more."""
        with self._lock:
            while self._connected and (message := self._held.first()) is not None:
                passage = gate.passage(message.topic, message.payload, qos=message.qos)
                if isinstance(passage, float):
                    return min(passage, _TICK_S)
                self._held.pop()
                if passage == "pass":
                    self._send(message)
        return _TICK_S

    def _lost(self) -> None:
        """Take back what was not acknowledged, and tell the inbox."""
        with self._lock:
            was_connected, self._connected = self._connected, False
            self._unacknowledged.clear()
            self._unacknowledged_bytes = 0
            self._on_way.clear()
            for message in self._client.drop_out_messages():
                self._dropped += self._held.add(
                    Outgoing(message.topic, bytes(message.payload), message.qos, message.retain)
                )
            self._dropped += self._held.forget_unreliable()
        unknown = (
            "connection lost"
            if was_connected
            else "the connection ended before the broker answered"
        )
        reason = self._trouble = self._why or unknown
        if not was_connected:
            self._takeover.attempt_failed()
            self._not_connected(_trouble(reason, self._refused))
        elif not self._closing.is_set():
            silent = self._silent and not self._hung_up and not self._renewing.is_set()
            taken_over = self._taken_over or self._takeover.lost(
                silent=silent, lived_s=time.monotonic() - self._accepted_s
            )
            if taken_over:
                reason = f"another client of {self._address} uses the client id {self.client_id}"
            log.debug(
                "disconnected",
                extra={
                    "broker": str(self._address),
                    "client_id": self.client_id,
                    "reason": reason,
                },
            )
            self._inbox.disconnected(reason, taken_over=taken_over)

    def _not_connected(self, trouble: Trouble) -> None:
        fields = {"broker": str(self._address), "reason": trouble.reason}
        log.debug("connect failed", extra=fields)
        if not self._closing.is_set():
            self._inbox.not_connected(trouble)

    def _end_thread(self) -> None:
        self._closing.set()
        if self._thread.ident is None:  # never started
            self._close_wake()
            return
        self._wake()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            sock = self._client.socket()
            if sock is not None:
                _cut(sock)
            self._thread.join(CLOSE_S + _CONNECT_S)
        if self._thread.is_alive():
            log.warning("transport thread did not end", extra={"broker": str(self._address)})
            return
        self._close_wake()

    def _wake(self) -> None:
        # A full pipe wakes the thread as well, and one closed has nobody left to wake.
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_write.send(b"w")

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(self._wake_read.recv(4096)) == 4096:
                pass

    def _close_wake(self) -> None:
        self._wake_read.close()
        self._wake_write.close()

    # What paho calls, on the thread

    def _on_socket_open(self, _client: paho.Client, _data: object, sock: Any) -> None:  # noqa: ANN401
        with contextlib.suppress(OSError):  # reset already: the loop will see it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._meter.opened(sock)

    def _on_socket_close(self, _client: paho.Client, _data: object, _sock: object) -> None:
        self._meter.closing()

    def _on_connect(
        self,
        client: paho.Client,
        _data: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._refused = reason
            self._why = f"{self._address} refuses {self.client_id}: {reason}"
            return
        self._takeover.accepted(session_present=flags.session_present)
        self._accepted_s = time.monotonic()
        announced = getattr(properties, "MaximumPacketSize", None)
        self._announced_bytes_max = announced if announced else PACKET_BYTES_MAX
        if self._gate is not None:
            self._gate.opened()
        if self.subscriptions:
            client.subscribe(list(self.subscriptions))
        limit_bytes = self.packet_bytes_max
        with self._lock:
            self._connected = True
            self._trouble = None
            for message in () if self._gate is not None else self._held.drain():
                packet_bytes = publish_packet_bytes(
                    message.topic, len(message.payload), qos=message.qos
                )
                if packet_bytes > limit_bytes:
                    self._dropped += 1
                    log.error(
                        "held message larger than the broker takes",
                        extra={
                            "topic": message.topic,
                            "packet_bytes": packet_bytes,
                            "limit_bytes": limit_bytes,
                        },
                    )
                    continue
                self._send(message)
        self._inbox.connected()

    def _on_disconnect(
        self,
        _client: paho.Client,
        _data: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._taken_over = reason.value == _SESSION_TAKEN_OVER
            self._why = f"the broker ended the connection: {reason}"
        elif reason.value == _KEEPALIVE_TIMEOUT:
            self._why = f"{self._address} has been silent for longer than the keep-alive"
        else:
            self._silent = True

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            log.warning("message under a topic that is not UTF-8")
            return
        payload = bytes(message.payload)
        self._meter.delivered(publish_packet_bytes(topic, len(payload), qos=message.qos))
        if self._gate is not None:
            self._gate.heard(topic, payload)
        self._inbox.message(topic, payload, message.retain)

    def _on_publish(
        self,
        _client: paho.Client,
        _data: object,
        number: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        # Called with paho's own locks held: take none of ours. No rule depends on it.
        message = self._on_way.pop(number, None)
        if reason.is_failure:
            self._inbox.refused("" if message is None else message.topic, str(reason))

    def _on_subscribe(
        self,
        _client: paho.Client,
        _data: object,
        _number: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        for (topic, _), reason in zip(self.subscriptions, reasons, strict=False):
            if reason.is_failure:
                log.error("subscription refused", extra={"topic": topic, "reason": str(reason)})


def _leave_writing_to_the_loop(_client: paho.Client, _data: object, _sock: object) -> None:
    pass


def _cut(sock: Any) -> None:  # noqa: ANN401 - a socket, plain or TLS
    with contextlib.suppress(OSError):  # already gone
        sock.shutdown(socket.SHUT_RDWR)


def _connect_properties(session_expiry_s: int, *, receive_maximum: int) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = session_expiry_s
    properties.ReceiveMaximum = receive_maximum
    properties.MaximumPacketSize = _INBOUND_BYTES_MAX
    return properties


def _explain(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError) and "not yet valid" in str(error):
        return f"{error} (is this machine's clock right? A board without one boots in the past)"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error}"
    return error.strerror or str(error)


def _trouble(reason: str, refusal: ReasonCode | None) -> Trouble:
    if refusal is None:
        return Trouble(kind="unreachable", reason=reason)
    kind: Literal["refused", "login refused"]
    kind = "login refused" if refusal.value in _LOGIN_REFUSED else "refused"
    return Trouble(kind=kind, reason=str(refusal))
