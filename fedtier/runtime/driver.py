"""The one loop of a process: an event, the machine, its effects, performed in order.

Callbacks of transports and results of work only enqueue; everything else happens on the thread
that runs the loop. One worker thread does what takes long, so that the loop always answers.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from fedtier.core.effects import Effect, Note, Reconnect, Send, Side, Stop
from fedtier.core.events import Connected, Disconnected, Event, Received, Tick
from fedtier.errors import (
    EXIT_CONFIG,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    FedtierError,
    LinkError,
    WireError,
)
from fedtier.ids import FederationId, NodeId
from fedtier.limits import NODE_ID_CHARACTERS_MAX
from fedtier.runtime.mailbox import (
    Arrived,
    Ended,
    Failed,
    Item,
    Lost,
    Mailbox,
    NotConnected,
    Refused,
)
from fedtier.runtime.reaching import Reaching
from fedtier.runtime.repeats import Repeats
from fedtier.transport.base import ANONYMOUS, Credentials, Transport
from fedtier.transport.packet_size import publish_packet_bytes
from fedtier.wire.packets import decode_packet, encode_packet
from fedtier.wire.topics import Topic

log = logging.getLogger(__name__)

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


class Driver:
    """Runs one machine until it stops, is told to, or must not go on."""

    def __init__(
        self,
        *,
        federation: FederationId,
        machine: Machine,
        mailbox: Mailbox,
        connections: Mapping[Side, Connection],
    ) -> None:
        """Prepare; nothing is started yet."""
        self._federation = federation
        self._machine = machine
        self._mailbox = mailbox
        self._connections = connections
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="work")
        self._repeats = Repeats()
        self._reaching = {
            side: Reaching(
                side=side, where=its.where, credentials=its.credentials, give_up_s=its.give_up_s
            )
            for side, its in connections.items()
        }
        self._takeovers: list[float] = []
        self._exit: Ended | None = None
        self._dropped = 0  # messages the mailbox had no room for, of which a note was made
        self.cancelled = threading.Event()

    # For the role's performer

    def transport(self, side: Side) -> Transport:
        """The transport of one side, whose bytes are to be counted."""
        return self._connections[side].transport

    def work(self, task: Callable[[], Event | None]) -> None:
        """Do something long on the worker thread; its event comes back into the loop.

        What the task raises ends the loop and comes out of ``run``: a task whose failure is no
        reason to stop catches it itself.
        """
        self._worker.submit(task).add_done_callback(self._mailbox.put)

    def stop(self, exit_code: int = EXIT_DONE, reason: str = "") -> None:
        """End the loop after what is being performed."""
        if self._exit is None:
            self._exit = Ended(exit_code, reason)

    # The loop

    def run(
        self,
        perform: Callable[[Effect], None],
        farewells: Mapping[Side, tuple[str, bytes]],
        *,
        judge: Callable[[int], int] = lambda exit_code: exit_code,
    ) -> int:
        """Run to the end.

        Args:
            perform: Does the effects that are the role's own.
            farewells: What to publish last on each side, in place of the will.
            judge: From the loop's exit code to the process's, once all has ended: of a role for
                which to be told to stop may mean not to be done.

        Returns:
            The exit code.

        Raises:
            FedtierError: What ``perform`` or the work met, after all is closed; anything else is a
                bug.
        """
        handlers = self._catch_signals()
        try:
            for side, connection in self._connections.items():
                self._reaching[side].begin(time.monotonic())
                connection.transport.start()
            while self._exit is None:
                item = self._mailbox.get(self._patience_s())
                event = None if item is None else self._event(item)
                self._note_dropped()
                now_s = time.monotonic()
                if event is not None:
                    self._perform_all(self._machine.handle(event, now_s), perform)
                due_s = self._machine.timer_s  # looked at after every event: no flood delays it
                if due_s is not None and due_s <= now_s:
                    self._perform_all(self._machine.handle(Tick(), now_s), perform)
                self._watch_connections(now_s)
        finally:
            self.cancelled.set()
            self._worker.shutdown(wait=True, cancel_futures=True)
            for side, connection in self._connections.items():
                connection.transport.close(farewell=farewells.get(side))
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self._check_last_work()
        exit_code = judge(self._exit.exit_code)
        if self._exit.reason:
            log.error("stopped", extra={"reason": self._exit.reason})
        else:
            log.info("stopped", extra={"exit_code": exit_code})
        return exit_code

    def _check_last_work(self) -> None:
        """Let no error of the work be lost because the loop had already ended."""
        while (item := self._mailbox.get(0)) is not None:
            if isinstance(item, Future) and not item.cancelled():
                item.result()

    def _patience_s(self) -> float | None:
        """How long to wait: until the machine's timer, or what is due about a connection."""
        timers_s = (self._machine.timer_s, *(each.timer_s for each in self._reaching.values()))
        due_s = [timer_s for timer_s in timers_s if timer_s is not None]
        return max(0.0, min(due_s) - time.monotonic()) if due_s else None

    def _event(self, item: Item) -> Event | None:
        match item:
            case Lost():
                return self._lost(item)
            case NotConnected():
                self._reaching[item.side].failed(item.trouble, time.monotonic())
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

    def _lost(self, lost: Lost) -> Event | None:
        log.warning(
            "disconnected",
            extra={"side": lost.side, "broker": self._where(lost.side), "reason": lost.reason},
        )
        now_s = time.monotonic()
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
        self._note(Note(level="warning", event="publish refused", fields=fields))

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
            message = decode_packet(topic, arrived.payload)
        except WireError as error:
            fields = where | {"reason": str(error)[:200]}
            self._note(Note(level="warning", event="garbage", fields=fields))
            return None
        return Received(
            side=arrived.side, node=topic.node, message=message, retained=arrived.retained
        )

    def _perform_all(self, effects: list[Effect], perform: Callable[[Effect], None]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect)
                case Note():
                    self._note(effect)
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
            self._note(Note(level="warning", event="not sent", fields={"reason": str(error)}))

    def _note(self, note: Note) -> None:
        count = self._repeats.count(note)
        if count is not None:
            extra = dict(note.fields) | ({"times": count} if count > 1 else {})
            log.log(logging.getLevelName(note.level.upper()), note.event, extra=extra)

    def _note_dropped(self) -> None:
        while self._dropped < self._mailbox.dropped:
            self._dropped += 1
            self._note(
                Note(level="warning", event="message dropped", fields={"reason": "mailbox full"})
            )

    def _watch_connections(self, now_s: float) -> None:
        for reaching in self._reaching.values():
            stop = reaching.tick(now_s)
            if stop is not None:
                self.stop(stop.exit_code, stop.reason)

    def _catch_signals(self) -> dict[signal.Signals, Any]:
        """Turn SIGTERM and SIGINT into the end of the loop; returns what handled them before."""

        def interrupted(number: int, frame: FrameType | None) -> None:
            del frame
            code = EXIT_DONE if number == signal.SIGTERM else EXIT_INTERRUPTED
            self.cancelled.set()
            self.stop(code)  # before anything that waits in the mailbox
            self._mailbox.end(code, "")  # and wake the loop

        if threading.current_thread() is not threading.main_thread():
            return {}
        return {
            number: signal.signal(number, interrupted) for number in (signal.SIGTERM, signal.SIGINT)
        }
