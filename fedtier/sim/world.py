"""A tree of nodes in virtual time: its brokers, its lines, and what befalls them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fedtier.config.node_file import NodeFile
from fedtier.core.effects import Side
from fedtier.core.events import Connected
from fedtier.ids import BootNonce, NodeId
from fedtier.runtime.assembly import presences
from fedtier.runtime.host import Assembled
from fedtier.runtime.loop import Connection, Machine, NodeLoop
from fedtier.runtime.mailbox import Arrived, Failed, Item, Lost, NotConnected, Refused
from fedtier.sim.agenda import Agenda
from fedtier.sim.broker import MemoryBroker, MemoryTransport
from fedtier.sim.decoded import Decoded
from fedtier.sim.host import EXIT_KILLED, SimHost, TakesS
from fedtier.sim.line import DIRECT, Line
from fedtier.transport.base import Trouble, Will
from fedtier.wire.topics import child_filters, parent_filters

Assemble = Callable[["SimBoot"], Assembled]
"""Puts a node's role together."""

Watcher = Callable[["SimNode"], None]
"""Is shown every node that starts, to watch its host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimBoot:
    """A boot in the simulator; see ``fedtier.runtime.boot.Boot``."""

    node: SimNode
    nonce: BootNonce
    stack: ExitStack

    @property
    def file(self) -> NodeFile:
        """The node's file."""
        return self.node.file

    @property
    def state_dir(self) -> Path:
        """Where it keeps things."""
        return self.node.state_dir

    def random64(self) -> int:
        """Drawn from the world's seed."""
        return self.node.world.random64()

    def host(self, machine: Machine) -> SimHost:
        """Where the machine will run, connected to the world's brokers."""
        return self.node.host_of(machine)

    def sleep(self, seconds: float, *, given_up: Callable[[], bool]) -> None:
        """Let virtual time pass in work of this boot; see ``SimHost.sleep``."""
        self.node.host.sleep(seconds, given_up=given_up)


class SimNode:
    """One node's place: it survives its boots, as a machine does."""

    def __init__(self, world: World, file: NodeFile, *, suffix: str = "") -> None:
        """Prepare; nothing is started yet.

        Args:
            world: Where it lives.
            file: The node's file.
            suffix: Of its client ids: of a second machine under the same file, on the same disk.
        """
        self.world = world
        self.file = file
        self.name = f"{file.id}{suffix}"
        self.state_dir = world.directory / file.id
        self.disks = 1  # it has had
        self.boots = 0
        self.nonce = BootNonce(0)  # of the present boot
        self.machine: Machine | None = None  # of the present boot
        self._host: SimHost | None = None
        self._transports: dict[Side, MemoryTransport] = {}
        self._stack = ExitStack()

    @property
    def host(self) -> SimHost:
        """Of the present boot, or the last."""
        assert self._host is not None, f"{self.file.id} was never started"
        return self._host

    @property
    def running(self) -> bool:
        """Whether it has been started, and has not ended."""
        return self._host is not None and self._host.exit_code is None

    @property
    def done(self) -> bool:
        """Whether it has ended by itself, and not by a crash."""
        return self._host is not None and self._host.exit_code not in (None, EXIT_KILLED)

    def start(self) -> None:
        """Begin a boot; what an earlier one has stored is there."""
        assert not self.running, f"{self.file.id} runs already"
        world = self.world
        self.boots += 1
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        self.nonce = BootNonce(world.random64())
        assembled = world.assemble(SimBoot(node=self, nonce=self.nonce, stack=self._stack))
        for watcher in world.watchers:
            watcher(self)
        self.host.begin(assembled, presences(self.file, self.nonce, "leaving"))

    def host_of(self, machine: Machine) -> SimHost:
        """The host of a machine; for ``SimBoot``."""
        file, world = self.file, self.world
        connections: dict[Side, Connection] = {}
        self._transports = {}
        if file.parent is not None:
            cell = NodeId(file.parent.id)
            filters = child_filters(file.federation, cell=cell, node=file.id)
            connections["up"] = self._connection("up", cell, self.name, filters)
        if file.cell is not None:
            filters = parent_filters(file.federation, cell=file.id)
            client_id = f"{self.name}.cell"
            connections["down"] = self._connection("down", file.id, client_id, filters)
        loop = NodeLoop(
            federation=file.federation,
            machine=machine,
            connections=connections,
            decode=world.decode,
        )
        self.machine = machine
        self._host = SimHost(file.id, loop, world.agenda, takes_s=world.takes_s)
        return self._host

    def _connection(
        self, side: Side, cell: NodeId, client_id: str, filters: list[tuple[str, int]]
    ) -> Connection:
        topic, payload = presences(self.file, self.nonce, "lost")[side]
        transport = MemoryTransport(
            self.world.brokers[cell],
            client_id,
            filters,
            _Inbox(self, side),
            will=Will(topic=topic, payload=payload),
            line=self.world.line(self.file.id) if side == "up" else DIRECT,
            address=f"{self.world.seed}/{self.name}/{self.boots}/{side}",
        )
        self._transports[side] = transport
        return Connection(
            transport=transport,
            cell=cell,
            where=f"the broker of {cell}",
            part_bytes=self.file.node.part_bytes,
        )

    def transport(self, side: Side) -> MemoryTransport:
        """Of the present boot, or the last."""
        return self._transports[side]

    def cut(self, side: Side) -> None:
        """Lose one connection; it stays away until ``reconnect``."""
        transport = self._transports[side]
        if transport.connected:
            self._broker(side).cut(transport.client_id)

    def reconnect(self, side: Side) -> None:
        """Have a connection again that was cut."""
        if self.running and self._broker(side).running:
            self._broker(side).reconnect(self._transports[side].client_id)

    def crash(self) -> None:
        """Lose the process: connections end without a farewell, memory is gone, the disk stays."""
        if self.running:
            self.host.crash()
            for transport in self._transports.values():
                transport.abort()
            self._stack.close()

    def lose_disk(self) -> None:
        """Lose all it has stored."""
        assert not self.running, "a disk is taken out of a machine that is off"
        shutil.rmtree(self.state_dir, ignore_errors=True)
        self.disks += 1

    def _broker(self, side: Side) -> MemoryBroker:
        cell = self.file.id if side == "down" else self.file.parent_id
        return self.world.brokers[cell]

    def take(self, item: Item) -> None:
        """What a transport has to tell."""
        self.host.take(item)


class _Inbox:
    """One transport's way into a node of one boot."""

    def __init__(self, node: SimNode, side: Side) -> None:
        self._node, self._side = node, side

    def connected(self) -> None:
        self._node.take(Connected(side=self._side))

    def not_connected(self, trouble: Trouble) -> None:
        self._node.take(NotConnected(self._side, trouble))

    def disconnected(self, reason: str, *, taken_over: bool) -> None:
        self._node.take(Lost(self._side, reason, taken_over))

    def message(self, topic: str, payload: bytes, retained: bool) -> None:
        self._node.take(Arrived(self._side, topic, payload, retained))

    def refused(self, topic: str, reason: str) -> None:
        self._node.take(Refused(self._side, topic, reason))

    def failed(self, error: BaseException) -> None:
        self._node.take(Failed(self._side, error))


class World:
    """All nodes of a federation, each with a directory, and a broker for every cell."""

    def __init__(
        self,
        files: Mapping[NodeId, NodeFile],
        *,
        assemble: Assemble,
        directory: Path,
        seed: int,
        line_of: Callable[[NodeId], Line] = lambda child: DIRECT,
        takes_s: TakesS | None = None,
    ) -> None:
        """Make brokers and places; nothing is started yet.

        Args:
            files: The node files.
            assemble: Puts a node's role together.
            directory: Below it each node keeps its state.
            seed: Of nonces, run ids, jitter and losses.
            line_of: What a child's connection to its parent's broker is like.
            takes_s: What work takes besides what it takes of itself; None = nothing.
        """
        self.agenda = Agenda()
        self.decode = Decoded()
        self.directory = directory
        self.seed = seed
        self.assemble = assemble
        self._line_of = line_of
        self._changed: dict[NodeId, Line] = {}  # lines that are no longer what they were
        self.takes_s = takes_s
        self.watchers: list[Watcher] = []
        self._draws = Random(f"{seed}/world")
        cells = [node for node, file in files.items() if file.cell is not None]
        self.brokers = {cell: MemoryBroker(self.agenda) for cell in cells}
        self.nodes = {node: SimNode(self, file) for node, file in files.items()}

    def line(self, child: NodeId) -> Line:
        """What a child's connection to its parent's broker is like now."""
        return self._changed.get(child) or self._line_of(child)

    def change_line(self, child: NodeId, line: Line) -> None:
        """Have it be another from now on."""
        self._changed[child] = line
        node = self.nodes[child]
        if node.running:
            node.transport("up").change(line)

    @property
    def cloud(self) -> SimNode:
        """The one node without a parent."""
        return next(node for node in self.nodes.values() if node.file.parent is None)

    def random64(self) -> int:
        """64 random bits: nonces and run ids."""
        return self._draws.getrandbits(64)

    def start(self) -> None:
        """Start every node, parents first as they are in name order."""
        for node in self.nodes.values():
            if not node.running:
                node.start()

    def restart_broker(self, cell: NodeId) -> None:
        """Stop a broker and start it again, empty."""
        self.brokers[cell].stop()
        self.brokers[cell].restart()

    def run(self, *, until: Callable[[], bool], limit_s: float = float("inf")) -> None:
        """Let time pass until something is so.

        Raises:
            AssertionError: If it never is, or not within ``limit_s`` of virtual time.
        """
        while not until():
            assert self.agenda.step(), "nothing is left to happen"
            assert self.agenda.now_s < limit_s, f"not done after {limit_s} s of virtual time"
