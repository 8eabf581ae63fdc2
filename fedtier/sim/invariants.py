"""What must hold at every step of a simulated world, whatever befalls it.

An invariant that does not hold is a bug, so it is asserted: the simulation ends there and then.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import Counter
from collections.abc import Callable

from fedtier.core.aggregator import TierAggregator
from fedtier.core.effects import Aggregate, Answer, Effect, Send
from fedtier.core.events import Aggregated, Event
from fedtier.core.root import RootMachine
from fedtier.errors import WireError
from fedtier.ids import NodeId
from fedtier.limits import TRANSFERS_AT_ONCE, WINDOW_PARTS
from fedtier.sim.broker import Delivery
from fedtier.sim.world import SimNode, World
from fedtier.storage.spool import Spool
from fedtier.wire.manifest import decode_update
from fedtier.wire.messages import Ack, Want
from fedtier.wire.packets import decode_packet
from fedtier.wire.parts import Part
from fedtier.wire.topics import Topic

_SPOOL = "spool"  # in the state directory of every parent
_TIME = struct.Struct("<d")
_CRC = struct.Struct("<I")


class Invariants:
    """Watches a world from before its start.

    - An update is counted at most once in an iteration, and the members of a mean all began from
      the iteration's own model.
    - An iteration that is closed is not closed again within an epoch, on one disk.
    - A cell's broker carries that cell's messages alone, and no update is heard in two cells: what
      crosses has passed through a gateway's machine.
    - At most ``TRANSFERS_AT_ONCE`` updates travel to one parent, and nobody asks for more than
      ``WINDOW_PARTS`` parts at a time.

    That no timer spins is asserted by every host, watched or not.

    Attributes:
        transfers: How many updates have travelled to each parent at once, at the most.
    """

    def __init__(self, world: World) -> None:
        """Watch.

        Args:
            world: None of its nodes may have been started.
        """
        assert all(node.boots == 0 for node in world.nodes.values()), "what was before is unknown"
        self.transfers: Counter[NodeId] = Counter()
        self._world = world
        self._asked: dict[tuple[str, object], Aggregate] = {}  # by node and job
        self._closed: set[tuple[object, ...]] = set()
        self._heard_in: dict[str, NodeId] = {}  # an update's digest: the cell
        self._trace = hashlib.sha256()
        world.watchers.append(self._watch)
        for cell, broker in world.brokers.items():
            broker.watches.append(self._hearing(cell))

    @property
    def trace(self) -> str:
        """A digest of every delivery so far: its time, its client, its topic and its payload.

        The same (seed, commit) gives the same.
        """
        return self._trace.hexdigest()

    def _watch(self, node: SimNode) -> None:
        node.host.watch(lambda shown: self._check(node, shown))

    def _check(self, node: SimNode, shown: Effect | Event) -> None:
        match shown:
            case Send(message=Ack() | Want() as message):
                asked = len(message.parts)
                assert asked <= WINDOW_PARTS, f"{node.name} asks for {asked} parts at once"
            case Aggregate():
                self._check_members(node, shown)
                self._asked[node.name, shown.job] = shown
            case Answer(gathered=Aggregate() as gathered):
                self._check_members(node, gathered)
            case Aggregated():
                self._close(node, self._asked.pop((node.name, shown.job)))
            case _:
                pass
        self._check_transfers(node)

    def _check_transfers(self, node: SimNode) -> None:
        if isinstance(node.machine, TierAggregator | RootMachine):
            receiving = node.machine.cell.receiving
            assert receiving <= TRANSFERS_AT_ONCE, f"{receiving} updates travel to {node.name}"
            self.transfers[node.file.id] = max(receiving, self.transfers[node.file.id])

    def _check_members(self, node: SimNode, aggregate: Aggregate) -> None:
        head = aggregate.head
        where = f"in {head.path} of {node.name}"
        names = [member.node for member in aggregate.came]
        assert len(set(names)) == len(names), f"a member is counted twice {where}: {names}"
        spool = Spool(node.state_dir / _SPOOL)
        for name in names:
            blob = spool.get(head.run, head.path, name)
            assert blob is not None, f"{name} is counted {where}, and its update is not there"
            manifest = decode_update(blob).manifest
            assert manifest.node == name, f"{manifest.node}'s update counts as {name}'s {where}"
            assert manifest.base == head.model, f"{name} began from another model {where}"

    def _close(self, node: SimNode, aggregate: Aggregate) -> None:
        head = aggregate.head
        key = (node.name, node.disks, head.run, head.epoch, head.path, head.task)
        assert key not in self._closed, f"{head.path} of {node.name} is closed a second time"
        self._closed.add(key)

    def _hearing(self, cell: NodeId) -> Callable[[Delivery], None]:
        def hear(delivery: Delivery) -> None:
            self._trace.update(_TIME.pack(self._world.agenda.now_s))
            self._trace.update(f"{delivery.client_id} {delivery.topic} ".encode())
            self._trace.update(_CRC.pack(zlib.crc32(delivery.payload)))
            self._check_cell(cell, delivery)

        return hear

    def _check_cell(self, cell: NodeId, delivery: Delivery) -> None:
        try:
            topic = Topic.parse(delivery.topic)
            message = decode_packet(topic, delivery.payload) if topic.channel == "update" else None
        except WireError:
            return  # garbage: whoever hears it says so
        assert topic.cell == cell, f"{delivery.topic} on the broker of {cell}"
        if isinstance(message, Part):
            before = self._heard_in.setdefault(message.digest, cell)
            assert before == cell, f"an update that was heard in {before} is heard in {cell}, too"
