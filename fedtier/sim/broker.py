"""A broker and its clients in one thread and virtual time: as a real one, to whoever uses them.

It keeps retained messages, wills, wildcards, takeovers and packet limits as a real broker does, and
no sessions: a client that is away gets nothing but retained messages when it returns. Nothing
arrives before the agenda is stepped; what a line brings arrives in the order it was sent, unless a
fault says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedtier.sim.agenda import Action, Agenda
from fedtier.sim.line import DIRECT, Direction, Line
from fedtier.transport.base import Inbox, Traffic, Will
from fedtier.transport.packet_size import (
    PACKET_BYTES_MAX,
    check_packet_bytes,
    publish_packet_bytes,
)

_PUBACK_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One copy of a message on its way to one client."""

    number: int  # counts all deliveries of this broker, from 0
    client_id: str
    topic: str
    payload: bytes
    retained: bool


Fault = Callable[[Delivery], Sequence[float]]
"""Says what becomes of a delivery: one entry per copy, each the seconds it is held back. ``()``
drops it, ``(0,)`` leaves it alone, ``(0, 0)`` duplicates it, ``(5,)`` lets what is sent in the next
five seconds overtake it. What was held back goes to whoever has that client id by then, as from a
session that was kept."""


def drop_if(condition: Callable[[Delivery], bool]) -> Fault:
    """A fault that loses what the condition picks."""
    return lambda delivery: () if condition(delivery) else (0,)


def duplicate_if(condition: Callable[[Delivery], bool]) -> Fault:
    """A fault that delivers twice what the condition picks."""
    return lambda delivery: (0, 0) if condition(delivery) else (0,)


def delay_if(condition: Callable[[Delivery], bool], *, by_s: float) -> Fault:
    """A fault that holds back what the condition picks."""
    return lambda delivery: (by_s,) if condition(delivery) else (0,)


def topic_matches(topic: str, topic_filter: str) -> bool:
    """Whether a filter with ``+`` and ``#`` takes in a topic (MQTT 5.0, 4.7)."""
    return _matches(topic.split("/"), topic_filter.split("/"))


def _matches(levels: Sequence[str], wanted: Sequence[str]) -> bool:
    if levels[0].startswith("$") and wanted[0] in ("+", "#"):
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


class MemoryBroker:
    """Routes between its ``MemoryTransport`` clients.

    Args:
        agenda: Whose time it lives in.
        fault: Asked once for every delivery; None = a perfect network. May be replaced any time.
        packet_bytes_max: What the broker announces as its largest packet.
    """

    def __init__(
        self,
        agenda: Agenda,
        *,
        fault: Fault | None = None,
        packet_bytes_max: int = PACKET_BYTES_MAX,
    ) -> None:
        self.agenda = agenda
        self.fault = fault
        self.packet_bytes_max = packet_bytes_max
        self.retained: dict[str, bytes] = {}
        self.watches: list[Callable[[Delivery], None]] = []  # are shown what arrives
        self.running = True
        self._clients: dict[str, MemoryTransport] = {}
        self._known: list[MemoryTransport] = []
        self._deliveries = 0
        self._routes: dict[str, list[MemoryTransport]] = {}  # as long as nobody comes or goes

    def cut(self, client_id: str) -> None:
        """End a client's connection without a DISCONNECT: its will fires, and it stays away."""
        client = self._clients.pop(client_id)
        self._routes.clear()
        client._lose("connection lost", taken_over=False)
        self._publish_will(client)

    def reconnect(self, client_id: str) -> None:
        """Let a client that was cut off connect again."""
        client = next(known for known in self._known if known.client_id == client_id)
        self._connect(client)

    def stop(self) -> None:
        """Stop: every client loses its connection, what was under way and retained is gone."""
        self.running = False
        self.retained.clear()
        clients, self._clients = list(self._clients.values()), {}
        self._routes.clear()
        for client in clients:
            client._lose("the broker stopped", taken_over=False)

    def restart(self) -> None:
        """Run again, empty; every client that was started and not closed connects."""
        self.running = True
        for client in list(self._known):
            self._connect(client)

    # For MemoryTransport

    def _started(self, client: MemoryTransport) -> None:
        self._known.append(client)
        if self.running:
            self._connect(client)

    def _ended(self, client: MemoryTransport) -> None:
        if client in self._known:
            self._known.remove(client)
        if self._clients.get(client.client_id) is client:
            del self._clients[client.client_id]
            self._routes.clear()

    def _connect(self, client: MemoryTransport) -> None:
        former = self._clients.get(client.client_id)
        if former is client:
            return
        if former is not None:
            former._lose("session taken over", taken_over=True)
        self._clients[client.client_id] = client
        self._routes.clear()
        client._accept()
        for topic, payload in list(self.retained.items()):
            if client._wants(topic.split("/")):
                self._deliver(client, topic, payload, retained=True)

    def _publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        assert not set(topic) & {"+", "#"}, topic
        if not self.running:
            return
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)
        route = self._routes.get(topic)
        if route is None:
            levels = topic.split("/")
            route = [client for client in self._clients.values() if client._wants(levels)]
            self._routes[topic] = route
        for client in route:
            self._deliver(client, topic, payload, retained=False)

    def _publish_will(self, client: MemoryTransport) -> None:
        if client.will is not None:
            self._publish(client.will.topic, client.will.payload, retain=client.will.retain)

    def _deliver(
        self, client: MemoryTransport, topic: str, payload: bytes, *, retained: bool
    ) -> None:
        delivery = Delivery(
            number=self._deliveries,
            client_id=client.client_id,
            topic=topic,
            payload=payload,
            retained=retained,
        )
        self._deliveries += 1
        arrives_s = client._arrives_s(topic, len(payload))
        if arrives_s is None:
            return
        for held_back_s in (0.0,) if self.fault is None else self.fault(delivery):
            take = self._taking_late(delivery) if held_back_s else client._taking(delivery)
            self.agenda.at(arrives_s + held_back_s, take)

    def _taking_late(self, delivery: Delivery) -> Action:
        def take() -> None:
            client = self._clients.get(delivery.client_id)
            if client is not None:
                client._take(delivery)

        return take


class MemoryTransport:
    """One client of a ``MemoryBroker``; the arguments and promises are those of MQTT's.

    A queued message of QoS 1 is held while not connected and published on the next connection.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        client_id: str,
        subscriptions: Sequence[tuple[str, int]],
        inbox: Inbox,
        *,
        will: Will | None = None,
        line: Line = DIRECT,
        address: str = "",
    ) -> None:
        self.client_id = client_id
        self.will = will
        self._broker = broker
        self._filters = tuple(topic_filter.split("/") for topic_filter, _ in subscriptions)
        self._inbox = inbox
        self._up = Direction(line, address=f"{address}/up")
        self._down = Direction(line, address=f"{address}/down")
        self._held: list[tuple[str, bytes, bool]] = []
        self._connected = False
        self._connection = 0  # counts those there were
        self._cuts = 0  # of those, how many ended without a farewell
        self._dropped = 0
        self._sent = self._received = 0
        self._started = self._closed = False

    def start(self) -> None:
        """Connect, now or when the broker runs."""
        assert not self._started, "started twice"
        self._started = True
        self._broker._started(self)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Hand one message over; see ``Transport.publish``.

        Raises:
            LinkError: If the packet is larger than the broker's ``packet_bytes_max``.
        """
        assert qos in (0, 1), qos
        assert not self._closed, "publish after close"
        limit_bytes = self.packet_bytes_max
        packet_bytes = check_packet_bytes(topic, len(payload), qos=qos, limit_bytes=limit_bytes)
        if self._connected:
            self._send(topic, payload, packet_bytes, qos=qos, retain=retain)
        elif qos == 0:
            self._dropped += 1
        else:
            self._held.append((topic, payload, retain))

    def close(self, *, farewell: tuple[str, bytes] | None = None) -> None:
        """Publish the farewell, retained, and leave; the will does not fire."""
        if self._closed:
            return
        if farewell is not None and self._connected:
            self.publish(*farewell, qos=1, retain=True)
        self._leave()

    def reconnect(self) -> None:
        """Lose the connection, if there is one, and be back as soon as that is told."""
        if self._connected:
            self._broker.cut(self.client_id)
            self._agenda.after(0, self._return)

    def change(self, line: Line) -> None:
        """Be connected by another line, from now on."""
        self._up.line = self._down.line = line

    def abort(self) -> None:
        """Vanish as a crash would: the will fires."""
        connected = self._connected
        self._leave()
        self._cuts += 1
        if connected:
            self._broker._publish_will(self)

    @property
    def packet_bytes_max(self) -> int:
        """What the broker announces."""
        return self._broker.packet_bytes_max

    @property
    def connected(self) -> bool:
        """Whether the broker runs and has accepted this client."""
        return self._connected

    @property
    def queued_bytes(self) -> int:
        """Payload bytes that wait for a connection."""
        return sum(len(payload) for _, payload, _ in self._held)

    @property
    def dropped(self) -> int:
        """Messages of QoS 0 dropped for want of a connection."""
        return self._dropped

    def traffic(self) -> Traffic:
        """Sizes of PUBLISH packets and their acknowledgements, as MQTT 5 would write them."""
        return Traffic(bytes_sent=self._sent, bytes_received=self._received, estimated=True)

    # For MemoryBroker

    @property
    def _agenda(self) -> Agenda:
        return self._broker.agenda

    def _wants(self, levels: Sequence[str]) -> bool:
        return any(_matches(levels, wanted) for wanted in self._filters)

    def _accept(self) -> None:
        self._connected = True
        self._connection += 1
        connection = self._connection
        self._agenda.after(self._down.round_trip_s(), lambda: self._tell_connected(connection))
        held, self._held = self._held, []
        for topic, payload, retain in held:
            packet_bytes = publish_packet_bytes(topic, len(payload), qos=1)
            self._send(topic, payload, packet_bytes, qos=1, retain=retain)

    def _send(
        self, topic: str, payload: bytes, packet_bytes: int, *, qos: int, retain: bool
    ) -> None:
        self._sent += packet_bytes
        if qos:
            self._received += _PUBACK_BYTES
        now_s, cuts = self._agenda.now_s, self._cuts
        arrives_s = self._up.carry(now_s, packet_bytes)

        def arrive() -> None:
            if cuts == self._cuts:  # else it was lost with its connection
                self._broker._publish(topic, payload, retain=retain)

        if arrives_s == now_s:
            arrive()
        elif arrives_s is not None:
            self._agenda.at(arrives_s, arrive)

    def _arrives_s(self, topic: str, payload_bytes: int) -> float | None:
        packet_bytes = publish_packet_bytes(topic, payload_bytes, qos=1)
        return self._down.carry(self._agenda.now_s, packet_bytes)

    def _return(self) -> None:
        if not self._closed and not self._connected and self._broker.running:
            self._broker.reconnect(self.client_id)

    def _lose(self, reason: str, *, taken_over: bool) -> None:
        self._connected = False
        self._cuts += 1
        connection = self._connection
        self._agenda.after(0, lambda: self._tell_lost(connection, reason, taken_over))

    def _tell_connected(self, connection: int) -> None:
        if connection == self._connection and not self._closed:
            self._inbox.connected()

    def _tell_lost(self, connection: int, reason: str, taken_over: bool) -> None:
        if connection == self._connection and not self._closed:
            self._inbox.disconnected(reason, taken_over=taken_over)

    def _taking(self, delivery: Delivery) -> Action:
        """Have a delivery arrive, unless the connection has ended by then."""
        connection = self._connection

        def take() -> None:
            if connection == self._connection and self._connected:
                self._take(delivery)

        return take

    def _take(self, delivery: Delivery) -> None:
        packet_bytes = publish_packet_bytes(delivery.topic, len(delivery.payload), qos=1)
        self._received += packet_bytes
        self._sent += _PUBACK_BYTES
        for watch in self._broker.watches:
            watch(delivery)
        self._inbox.message(delivery.topic, delivery.payload, delivery.retained)

    def _leave(self) -> None:
        self._closed = True
        self._connected = False
        self._broker._ended(self)
