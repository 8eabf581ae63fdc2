"""What one turn of a node's loop does: an item, the machine, its effects, performed in order.

Without clock, thread or queue: who turns it says what time it is. The driver turns it in a process
of its own, by the wall clock; the simulator turns many of them, by a virtual one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from fedtier.core.effects import Effect, Note, Reconnect, Send, Side, Stop
from fedtier.core.events import Connected, Disconnected, Event, Received, Tick
from fedtier.errors import EXIT_CONFIG, EXIT_DONE, FedtierError, LinkError, WireError
from fedtier.ids import FederationId, NodeId
from fedtier.limits import NODE_ID_CHARACTERS_MAX
from fedtier.runtime.mailbox import Arrived, Ended, Failed, Item, Lost, NotConnected, Refused
from fedtier.runtime.reaching import Reaching
from fedtier.runtime.repeats import Repeats
from fedtier.transport.base import ANONYMOUS, Credentials, Transport
from fedtier.transport.packet_size import publish_packet_bytes
from fedtier.wire.messages import Message
from fedtier.wire.packets import decode_packet, encode_packet
from fedtier.wire.topics import Topic

log = logging.getLogger(__name__)

Perform = Callable[[Effect], None]
"""Does the effects that are a role's own."""

Watch = Callable[[Effect], None]
"""Is shown every effect, in order, before it is performed."""

Decode = Callable[[Topic, bytes], Message]
"""Reads a message; ``WireError`` where it says nothing: ``decode_packet``."""

_LONGEST_ID = NodeId("x" * NODE_ID_CHARACTERS_MAX)
_TAKEOVER_WINDOW_S = 60.0


class Machine(Protocol):
    """What the loop drives."""

    @property
    def timer_s(self) -> float | None:
        """When a ``Tick`` is due."""
        ...

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take one event, return what to do."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One side of a node: its transport, and whose cell is spoken there."""

    transport: Transport
    cell: NodeId
    where: str  # the broker, for people
    credentials: Credentials = ANONYMOUS  # for people too: what the transport shows the broker
    part_bytes: int  # how large a part this node, or its parent, publishes there
    give_up_s: float | None = None  # exit 69 when the first connection takes longer


class NodeLoop:
    """Takes one item at a time; see the module."""

    def __init__(
        self,
        *,
        federation: FederationId,
        machine: Machine,
        connections: Mapping[Side, Connection],
        decode: Decode = decode_packet,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            federation: Whose topics it listens to.
            machine: What decides.
            connections: One for each side it has.
            decode: What reads messages.
        """
        self._decode = decode
        self._federation = federation
        self._machine = machine
        self._connections = connections
        self._repeats = Repeats()
        self._reaching = {
            side: Reaching(
                side=side, where=its.where, credentials=its.credentials, give_up_s=its.give_up_s
            )
            for side, its in connections.items()
        }
        self._takeovers: list[float] = []
        self.watches: list[Watch] = []
        self.ended: Ended | None = None

    def transport(self, side: Side) -> Transport:
        """The transport of one side."""
        return self._connections[side].transport

    def stop(self, exit_code: int = EXIT_DONE, reason: str = "") -> None:
        """End after what is being performed; the first reason counts."""
        if self.ended is None:
            self.ended = Ended(exit_code, reason)

    def start(self, now_s: float) -> None:
        """Begin to connect."""
        for side, connection in self._connections.items():
            self._reaching[side].begin(now_s)
            connection.transport.start()

    def close(self, farewells: Mapping[Side, tuple[str, bytes]]) -> None:
        """End the connections, saying last on each side what is given."""
        for side, connection in self._connections.items():
            connection.transport.close(farewell=farewells.get(side))

    @property
    def timer_s(self) -> float | None:
        """When ``turn`` is due though nothing came: for the machine, or about a connection."""
        timers_s = (self._machine.timer_s, *(each.timer_s for each in self._reaching.values()))
        return min((timer_s for timer_s in timers_s if timer_s is not None), default=None)

    def turn(self, item: Item | None, now_s: float, perform: Perform) -> None:
        """Take in one item, or the time alone, and do all that follows.

        Args:
            item: What came; None where only time has passed.
            now_s: The time, of a clock that never goes back.
            perform: Does the effects that are the role's own.

        Raises:
            FedtierError: What ``perform`` or the work met.
            RuntimeError: If a transport has ended by a bug.
        """
        event = None if item is None else self._event(item, now_s)
        if event is not None:
            self._perform_all(self._machine.handle(event, now_s), perform)
        due_s = self._machine.timer_s  # looked at after every event: no flood delays it
        if due_s is not None and due_s <= now_s:
            self._perform_all(self._machine.handle(Tick(), now_s), perform)
        for reaching in self._reaching.values():
            stop = reaching.tick(now_s)
            if stop is not None:
                self.stop(stop.exit_code, stop.reason)

    def note(self, note: Note) -> None:
        """Log a note, unless it was said often enough."""
        self._show(note)
        count = self._repeats.count(note)
        if count is not None:
            extra = dict(note.fields) | ({"times": count} if count > 1 else {})
            log.log(logging.getLevelName(note.level.upper()), note.event, extra=extra)

    def _event(self, item: Item, now_s: float) -> Event | None:
        match item:
            case Lost():
                return self._lost(item, now_s)
            case NotConnected():
                self._reaching[item.side].failed(item.trouble, now_s)
                return None
            case Arrived():
                return self._arrived(item)
            case Refused():
                self._refused(item)
                return None
            case Ended():
                self.stop(item.exit_code, item.reason)
                return None
            case Failed(error=FedtierError() as error):
                raise error  # such as of a disk, which is no bug
            case Failed():
                where = self._where(item.side)
                raise RuntimeError(f"the transport's thread for {where} ended") from item.error
            case Future():
                return item.result()  # an error of the work is the process's own
            case Connected():
                log.info("connected", extra={"side": item.side, "broker": self._where(item.side)})
                self._reaching[item.side].reached()
                self._check_part_bytes(item.side)
                return item
            case _:
                return item

    def _check_part_bytes(self, side: Side) -> None:
        """Refuse to begin what the broker would not carry."""
        connection = self._connections[side]
        longest = Topic(
            federation=self._federation, cell=connection.cell, node=_LONGEST_ID, channel="update",
            part=2**32 - 1,
        )  # fmt: skip
        needed = publish_packet_bytes(str(longest), connection.part_bytes, qos=1)
        limit = connection.transport.packet_bytes_max
        if needed > limit:
            self.stop(
                EXIT_CONFIG,
                f"part_bytes = {connection.part_bytes} makes packets of up to {needed} bytes, the "
                f"broker at {connection.where} takes {limit}. Make part_bytes smaller in the "
                "federation file and write the node files anew, or raise the broker's limit "
                "(mosquitto: max_packet_size).",
            )

    def _where(self, side: Side) -> str:
        return self._connections[side].where

    def _lost(self, lost: Lost, now_s: float) -> Event | None:
        log.warning(
            "disconnected",
            extra={"side": lost.side, "broker": self._where(lost.side), "reason": lost.reason},
        )
        self._reaching[lost.side].begin(now_s)
        if lost.taken_over:
            recent = [t for t in self._takeovers if now_s - t < _TAKEOVER_WINDOW_S]
            self._takeovers = [*recent, now_s]
            if len(self._takeovers) >= 2:
                self.stop(
                    EXIT_CONFIG,
                    f"another client took over this node's connection to {self._where(lost.side)} "
                    "twice within a minute: two machines run under one id. Stop one of them.",
                )
        return Disconnected(side=lost.side)

    def _refused(self, refused: Refused) -> None:
        head, _, last = refused.topic.rpartition("/")
        fields = {
            "broker": self._where(refused.side),
            "topic": head if last.isdigit() else refused.topic,  # once for all parts of a blob
            "reason": refused.reason,
            "hint": "this user has no right to it: see the broker's ACL",
        }
        self.note(Note(level="warning", event="publish refused", fields=fields))

    def _arrived(self, arrived: Arrived) -> Event | None:
        connection = self._connections[arrived.side]
        where: dict[str, str] = {}
        try:
            topic = Topic.parse(arrived.topic)
            if (topic.federation, topic.cell) != (self._federation, connection.cell):
                raise WireError(f"topic {arrived.topic!r} is of another cell")
            where = {"node": topic.node, "channel": topic.channel}
            if not arrived.payload:
                return None  # a retained message was cleared
            message = self._decode(topic, arrived.payload)
        except WireError as error:
            fields = where | {"reason": str(error)[:200]}
            self.note(Note(level="warning", event="garbage", fields=fields))
            return None
        return Received(
            side=arrived.side, node=topic.node, message=message, retained=arrived.retained
        )

    def _show(self, effect: Effect) -> None:
        for watch in self.watches:
            watch(effect)

    def _perform_all(self, effects: list[Effect], perform: Perform) -> None:
        for effect in effects:
            if not isinstance(effect, Note):  # which is shown with those that are not a machine's
                self._show(effect)
            match effect:
                case Send():
                    self._send(effect)
                case Note():
                    self.note(effect)
                case Reconnect():
                    self._connections[effect.side].transport.reconnect()
                case Stop():
                    self.stop(effect.exit_code, effect.reason)
                case _:
                    perform(effect)

    def _send(self, send: Send) -> None:
        connection = self._connections[send.side]
        topic, payload, qos, retain = encode_packet(
            send.message, federation=self._federation, cell=connection.cell, node=send.node
        )
        try:
            connection.transport.publish(topic, payload, qos=qos, retain=retain)
        except LinkError as error:
            self.note(Note(level="warning", event="not sent", fields={"reason": str(error)}))
