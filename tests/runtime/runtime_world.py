"""Small machines and transports for the driver: they do what a script says, and remember."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fedtier.core.effects import Send, Stop
from fedtier.core.events import Tick
from fedtier.ids import BootNonce, FederationId, NodeId
from fedtier.runtime.driver import Driver
from fedtier.runtime.loop import Connection
from fedtier.runtime.mailbox import Mailbox
from fedtier.sim.agenda import Agenda
from fedtier.sim.broker import MemoryBroker, MemoryTransport
from fedtier.transport.base import Traffic
from fedtier.transport.packet_size import PACKET_BYTES_MAX
from fedtier.wire.messages import Presence
from fedtier.wire.packets import encode_packet
from fedtier.wire.topics import ALL, parent_filters

FEDERATION = FederationId("f")
CELL = NodeId("gw")
NONCE = BootNonce(7)
URL = "mqtt://broker.example:1883"
PRESENCE = Presence(status="online", nonce=NONCE)
FAREWELL = encode_packet(
    Presence(status="leaving", nonce=NONCE), federation=FEDERATION, cell=CELL, node=ALL
)[:2]
DONE = Stop(exit_code=0, reason="")


class Silent:
    """A transport that never connects, and remembers what it was asked to do."""

    def __init__(self, *, on_start: Callable[[], None] = lambda: None) -> None:
        self.calls: list[str] = []
        self.farewell: tuple[str, bytes] | None = None
        self._on_start = on_start

    def start(self) -> None:
        self.calls.append("start")
        self._on_start()

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        self.calls.append(f"publish {topic}")

    def reconnect(self) -> None:
        self.calls.append("reconnect")

    def close(self, *, farewell: tuple[str, bytes] | None = None) -> None:
        self.calls.append("close")
        self.farewell = farewell

    connected = False
    packet_bytes_max = PACKET_BYTES_MAX
    queued_bytes = 0
    dropped = 0

    def traffic(self) -> Traffic:
        return Traffic(bytes_sent=0, bytes_received=0)


class Pumped(MemoryTransport):
    """A memory transport whose broker delivers at once: an inbox only enqueues."""

    def start(self) -> None:
        super().start()
        self._broker.agenda.run_until_idle()

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        super().publish(topic, payload, qos=qos, retain=retain)
        self._broker.agenda.run_until_idle()


@dataclass
class Scripted:
    """A machine that asks for what its script says, and stops after so many events."""

    script: Callable[..., list] = lambda event: []
    stop_after: int | None = None
    timer_s: float | None = None
    events: list = field(default_factory=list)

    def handle(self, event, now_s):
        self.events.append(event)
        if isinstance(event, Tick):
            self.timer_s = None
        effects = list(self.script(event))
        if self.stop_after is not None and len(self.events) >= self.stop_after:
            effects.append(DONE)
        return effects


class Node:
    """A driver around a scripted machine, on a silent transport or a pumped one."""

    def __init__(self, machine, *, transport=None, give_up_s=None, sides=("down",)):
        self.machine = machine
        self.mailbox = Mailbox()
        self.broker = MemoryBroker(Agenda())
        self.transports = {side: transport(self, side) if transport else Silent() for side in sides}
        self.driver = Driver(
            federation=FEDERATION, machine=machine, mailbox=self.mailbox,
            connections={
                side: Connection(
                    transport=its, cell=CELL, where=URL, part_bytes=4096, give_up_s=give_up_s
                )
                for side, its in self.transports.items()
            },
        )  # fmt: skip
        self.performed = []

    def run(self, perform=None):
        farewells = dict.fromkeys(self.transports, FAREWELL)
        return self.driver.run(perform or self.performed.append, farewells)


def pumped(node, side):
    filters = parent_filters(FEDERATION, cell=CELL)
    return Pumped(node.broker, f"{CELL}.cell", filters, node.mailbox.inbox(side))


def arrive(node, topic, payload, *, retained=False, side="down"):
    node.mailbox.inbox(side).message(topic, payload, retained)


def presence_of(child, *, weight=1):
    """Topic and payload of a child's presence."""
    message = Presence(status="online", nonce=NONCE, ready=True, weight=weight)
    return encode_packet(message, federation=FEDERATION, cell=CELL, node=NodeId(child))[:2]


def say(message=PRESENCE, node=ALL):
    return Send(side="down", message=message, node=node)
