"""A whole tree in one thread: the product's machines over in-memory brokers and a virtual clock.

Every cell has a broker of its own. Work is done at once by a trainer given as a function; sums
go through the product's own spool and exact sum. Restarts keep a node's disk and lose its memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fedtier.core.aggregator import TierAggregator
from fedtier.core.device import DeviceMachine, Trainee
from fedtier.core.effects import (
    Aggregate,
    Answer,
    Effect,
    Finish,
    Job,
    Keep,
    Note,
    Preempt,
    Remember,
    Send,
    Spool,
    Stop,
    Work,
)
from fedtier.core.events import (
    Aggregated,
    Connected,
    Disconnected,
    Event,
    Received,
    Tick,
    WorkDone,
    WorkFailed,
)
from fedtier.core.figures import Figures, Scores
from fedtier.core.root import Course, RootMachine
from fedtier.errors import TrainingError, WireError
from fedtier.ids import BootNonce, FederationId, NodeId, RunId
from fedtier.model.layout import ParameterLayout, TensorSpec, Vector, model_digest
from fedtier.model.server_step import add
from fedtier.runtime.mean import next_model
from fedtier.runtime.updates import delta_update, figures_update
from fedtier.storage.cell_state import CellState
from fedtier.storage.outbox import Outbox
from fedtier.storage.snapshots import Snapshot, Snapshots
from fedtier.storage.spool import Spool as SpoolFiles
from fedtier.transport.base import Will
from fedtier.transport.memory import MemoryBroker, MemoryTransport
from fedtier.wire.manifest import decode_model, encode_model
from fedtier.wire.messages import CodecSpec, Head, Plan, Presence
from fedtier.wire.packets import decode_packet, encode_packet
from fedtier.wire.topics import ALL, Topic, child_filters, parent_filters

FEDERATION = FederationId("test")
ARTEFACT = "ab" * 32
IDENTITY = CodecSpec(name="identity")

TrainFunction = Callable[[NodeId, Head, Vector], Vector]
"""From a device, what is asked of it and the model, to the model after its local steps."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A tree: each node's parent, and the tiers of the gateways and the cloud."""

    parents: Mapping[str, str]
    tiers: Mapping[str, int]
    weights: Mapping[str, int] = field(default_factory=dict)

    @property
    def devices(self) -> list[str]:
        return sorted(node for node in self.parents if node not in self.tiers)

    def children(self, node: str) -> list[NodeId]:
        return sorted(NodeId(child) for child, parent in self.parents.items() if parent == node)


def regular(*fan_outs: int) -> Shape:
    """A tree with the same fan-out at every node of a tier; ``regular(2, 4)``: 2 gateways, 8 devices."""
    parents, tiers = {}, {"cloud": len(fan_outs)}
    above = ["cloud"]
    for depth, fan_out in enumerate(fan_outs):
        tier = len(fan_outs) - depth - 1
        here = []
        for parent in above:
            for _ in range(fan_out):
                name = f"{'d' if tier == 0 else f'g{tier}-'}{len(here)}"
                parents[name] = parent
                if tier:
                    tiers[name] = tier
                here.append(name)
        above = here
    return Shape(parents=parents, tiers=tiers)


def make_plan(tau: tuple[int, ...], *, rounds: int = 1, seed: int = 7, **changes: object) -> Plan:
    values: dict[str, object] = {
        "seed": seed, "rounds": rounds, "tau": tau, "codecs": (IDENTITY,) * len(tau),
        "schedule": "constant", "mu": 0.1, "floor": 1.0,
    }  # fmt: skip
    return Plan(**(values | changes))  # type: ignore[arg-type]


def quadratic(centres: Mapping[str, np.ndarray | float]) -> TrainFunction:
    """Plain gradient descent on ``||w - centre||^2 / 2`` of each device, in float32."""

    def train(node: NodeId, head: Head, model: Vector) -> Vector:
        w = model.copy()
        centre = np.float32(1) * np.asarray(centres[node], np.float32)
        mu = np.float32(head.plan.mu)
        for _ in range(math.prod(head.plan.tau[: head.tier])):
            w = w - mu * (w - centre)
        return w

    return train


class _Inbox:
    def __init__(self, node: NodeProcess, side: str, cell: NodeId) -> None:
        self._node, self._side, self._cell = node, side, cell

    def connected(self) -> None:
        self._node.take(Connected(side=self._side))

    def disconnected(self, reason: str, *, taken_over: bool) -> None:
        self._node.take(Disconnected(side=self._side))

    def message(self, topic: str, payload: bytes, retained: bool) -> None:
        try:
            parsed = Topic.parse(topic)
            message = decode_packet(parsed, payload)
        except WireError as error:
            self._node.garbage.append(str(error))
            return
        self._node.take(
            Received(side=self._side, node=parsed.node, message=message, retained=retained)
        )


class NodeProcess:
    """One node: its machine, its transports, its disk."""

    def __init__(self, world: World, node: str) -> None:
        self.world, self.node = world, NodeId(node)
        self.garbage: list[str] = []
        self.notes: list[Note] = []
        self.stopped: Stop | None = None
        self.finished: Finish | None = None
        self.kept: Keep | None = None
        self.disk = world.disk / node
        self.disk.mkdir(parents=True, exist_ok=True)
        self.nonce = BootNonce(world.next_nonce())
        self._transports: dict[str, tuple[MemoryTransport, NodeId]] = {}
        self.machine = self._make_machine()
        shape = world.shape
        if node in shape.parents:
            self._connect("up", NodeId(shape.parents[node]), node)
        if node in shape.tiers:
            self._connect("down", self.node, f"{node}.cell")

    def _make_machine(self) -> DeviceMachine | TierAggregator | RootMachine:
        world, shape = self.world, self.world.shape
        if self.node not in shape.tiers:
            return DeviceMachine(
                node=self.node, part_bytes=world.part_bytes,
                presence=Presence(
                    status="online", nonce=self.nonce, ready=True, devices=1,
                    weight=shape.weights.get(self.node, 1),
                ),
                trainee=Trainee(
                    artefact=ARTEFACT, layout=world.layout.digest, dimension=world.layout.dimension
                ),
            )  # fmt: skip
        members = shape.children(self.node)
        if self.node in shape.parents:
            state = CellState(self.disk)
            return TierAggregator(
                node=self.node, tier=shape.tiers[self.node], members=members,
                members_min=world.members_min or len(members), part_bytes=world.part_bytes,
                nonce=self.nonce, announced=state.announced(), resume=state.resume(),
                spooled=SpoolFiles(self.disk).found(),
            )  # fmt: skip
        return RootMachine(
            node=self.node, members=members, members_min=world.members_min or len(members),
            part_bytes=world.part_bytes, nonce=self.nonce, course=world.course(self.disk),
            spooled=SpoolFiles(self.disk).found(),
        )  # fmt: skip

    def _connect(self, side: str, cell: NodeId, client_id: str) -> None:
        node = self.node if side == "up" else ALL
        filters = (
            child_filters(FEDERATION, cell=cell, node=self.node)
            if side == "up"
            else parent_filters(FEDERATION, cell=cell)
        )
        lost = Presence(status="lost", nonce=self.nonce)
        topic, payload, _, _ = encode_packet(lost, federation=FEDERATION, cell=cell, node=node)
        transport = MemoryTransport(
            self.world.brokers[cell], client_id, filters, _Inbox(self, side, cell),
            will=Will(topic=topic, payload=payload),
        )  # fmt: skip
        self._transports[side] = (transport, cell)
        transport.start()

    def take(self, event: Event) -> None:
        if self.stopped is None:
            for effect in self.machine.handle(event, self.world.now_s):
                self._perform(effect)

    def crash(self) -> None:
        """Lose the process: connections end without a farewell, memory is gone."""
        self.stopped = Stop(exit_code=137, reason="killed")
        for transport, cell in self._transports.values():
            if transport.connected:
                self.world.brokers[cell].cut(transport.client_id)
            self.world.brokers[cell]._ended(transport)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send():
                transport, cell = self._transports[effect.side]
                topic, payload, qos, retain = encode_packet(
                    effect.message, federation=FEDERATION, cell=cell, node=effect.node
                )
                transport.publish(topic, payload, qos=qos, retain=retain)
            case Note():
                self.notes.append(effect)
            case Stop():
                self.stopped = effect
            case Work():
                self.world.later(self, lambda: self._work(effect))
            case Aggregate():
                self.world.later(self, lambda: self._aggregate(effect))
            case Answer():
                self.world.later(self, lambda: self._answer(effect))
            case Spool():
                SpoolFiles(self.disk).put(effect.run, effect.path, effect.child, effect.blob)
            case Remember():
                CellState(self.disk).remember(effect.beneath, effect.members)
            case Keep():
                self.kept = effect
            case Finish():
                self.finished = effect
                self.world.save(self.disk, self.world.rounds_done, effect.head, finished=True)
            case Preempt():
                pass

    def _work(self, work: Work) -> Event:
        outbox = Outbox(self.disk)
        stored = outbox.get(work.job)
        if stored is not None:
            return WorkDone(job=work.job, blob=stored)
        head = work.head
        start, _, _ = decode_model(work.model)
        self.world.trained.append((str(self.node), str(head.path)))
        try:
            if head.task == "evaluate":
                scores = Scores.of_device(self.node, examples=10, correct=7, loss_units=2**20)
                blob = figures_update(self.node, head, reason="", figures=Figures(scores=scores))
            else:
                end = self.world.train(self.node, head, start)
                blob = delta_update(
                    self.node, head, start=start, end=end, figures=Figures(),
                    weight=self.world.shape.weights.get(self.node, 1),
                )  # fmt: skip
        except TrainingError as error:
            return WorkFailed(job=work.job, reason=str(error))
        outbox.put(work.job, blob)
        return WorkDone(job=work.job, blob=blob)

    def _aggregate(self, aggregate: Aggregate) -> Event:
        before, _, _ = decode_model(aggregate.model)
        spool = SpoolFiles(self.disk)
        new = next_model(before, spool, aggregate, step=add)
        self.world.sums.append((str(self.node), str(aggregate.head.path), aggregate.came))
        if aggregate.above is not None:
            CellState(self.disk).close(
                above=aggregate.above, done=aggregate.done, model=new.model, blob=new.blob
            )
        else:
            self.world.model, self.world.blob = new.vector, new.blob
            self.world.rounds_done = aggregate.done
            self.world.save(self.disk, aggregate.done, aggregate.head)
        spool.drop(aggregate.head.run, aggregate.head.path)
        return Aggregated(job=aggregate.job, model=new.model, blob=new.blob)

    def _answer(self, answer: Answer) -> Event:
        head = answer.head
        if answer.weight == 0:
            blob = figures_update(self.node, head, reason=answer.reason, figures=answer.figures)
        else:
            blob = delta_update(
                self.node, head, start=decode_model(answer.start)[0],
                end=decode_model(answer.end)[0], weight=answer.weight, figures=answer.figures,
            )  # fmt: skip
        return WorkDone(job=answer.job, blob=blob)


class World:
    """The tree, its brokers, its clock, and the true global model."""

    def __init__(
        self,
        shape: Shape,
        plan: Plan,
        train: TrainFunction,
        *,
        disk: Path,
        start: np.ndarray,
        part_bytes: int = 4096,
        members_min: int | None = None,
        run: int = 1,
        starting_order: list[str] | None = None,
    ) -> None:
        self.shape, self.plan, self.train = shape, plan, train
        self.disk, self.part_bytes, self.members_min = disk, part_bytes, members_min
        self.now_s = 0.0
        self.model = np.asarray(start, np.float32)
        self.layout = ParameterLayout(tensors=(TensorSpec(name="w", shape=self.model.shape),))
        self.blob = encode_model(self.model, model=self.digest, layout=self.layout.digest)
        self.run_id = RunId(run)
        self.rounds_done = 0
        self.trained: list[tuple[str, str]] = []
        self.sums: list[tuple[str, str, tuple]] = []
        self.brokers = {NodeId(cell): MemoryBroker() for cell in shape.tiers}
        self._later: list[tuple[NodeProcess, Callable[[], Event]]] = []
        self._nonces = 0
        self.nodes: dict[str, NodeProcess] = {}
        for node in starting_order or [*sorted(shape.tiers), *shape.devices]:
            self.start(node)

    @property
    def digest(self) -> str:
        return model_digest(self.layout.digest, self.model)

    @property
    def cloud(self) -> NodeProcess:
        return self.nodes["cloud"]

    def next_nonce(self) -> int:
        self._nonces += 1
        return self._nonces

    def start(self, node: str) -> None:
        self.nodes[node] = NodeProcess(self, node)

    def restart(self, node: str) -> None:
        self.nodes[node].crash()
        self.start(node)

    def later(self, node: NodeProcess, work: Callable[[], Event]) -> None:
        self._later.append((node, work))

    def course(self, disk: Path) -> Course:
        snapshot = Snapshots(disk).read()
        if snapshot is not None and not snapshot.finished and snapshot.run == self.run_id:
            self.model, _, _ = decode_model(snapshot.blob)
            self.blob, self.rounds_done = snapshot.blob, snapshot.rounds_done
        return Course(
            run=self.run_id, epoch=snapshot.epoch if snapshot is not None else 0, plan=self.plan,
            artefact=ARTEFACT, layout=self.layout.digest, dimension=self.layout.dimension,
            next_round=self.rounds_done, model=self.digest, blob=self.blob,
        )  # fmt: skip

    def save(self, disk: Path, rounds_done: int, head: Head, *, finished: bool = False) -> None:
        Snapshots(disk).write(
            Snapshot(
                run=head.run, epoch=head.epoch, rounds_done=rounds_done, finished=finished,
                plan="", artefact=head.artefact, model=self.digest, blob=self.blob,
            )
        )  # fmt: skip

    def step(self) -> bool:
        """Deliver one message, do one piece of work, or let time pass to the next timer."""
        for broker in self.brokers.values():
            if broker.deliver_next():
                return True
        if self._later:
            node, work = self._later.pop(0)
            if node.stopped is None:
                node.take(work())
            return True
        timers = [
            (n.machine.timer_s, n)
            for n in self.nodes.values()
            if n.stopped is None and n.machine.timer_s is not None
        ]
        if not timers:
            return False
        due_s = min(timer for timer, _ in timers)
        self.now_s = max(self.now_s, due_s)
        for timer, node in timers:
            if timer <= self.now_s:
                node.take(Tick())
        return True

    def run(self, *, until: Callable[[World], bool] | None = None, limit_s: float = 3600) -> None:
        """Go on until the cloud has finished (or ``until``), within a bound of virtual time."""
        done = until or (lambda world: world.cloud.finished is not None)
        while not done(self):
            assert self.step(), "nothing left to happen"
            assert self.now_s < limit_s, f"not done after {limit_s} s of virtual time"
        for _ in range(10_000):  # let what was said last arrive
            if not any(broker.deliver_next() for broker in self.brokers.values()):
                break


def job_of(head: Head) -> Job:
    return Job.of(head)
