"""A whole tree in one thread: the product's machines over in-memory brokers and a virtual clock.

Every cell has a broker of its own. Work is done at once by a trainer given as a function; sums
go through the product's own spool and exact sum. Restarts keep a node's disk and lose its memory.
"""

from __future__ import annotations

import heapq
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from fedtier.transport.memory import Delivery, MemoryBroker, MemoryTransport
from world_shapes import GradientFunction, Shape, TrainFunction, local_steps

from cloud.estimate import estimates_of
from cloud.expected import expected_of
from cloud.pilot import PilotLog
from edge_agent.carry import kept_end, to_carry
from fedtier.artefact.trainer import Trained
from fedtier.core.aggregator import TierAggregator
from fedtier.core.device import DeviceMachine, Trainee
from fedtier.core.effects import (
    Aggregate,
    Answer,
    Effect,
    Finish,
    Install,
    Keep,
    Note,
    Preempt,
    Reconnect,
    Remember,
    SavePart,
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
    Installed,
    Received,
    Tick,
    WorkDone,
    WorkFailed,
)
from fedtier.core.expected import Expected
from fedtier.core.figures import Figures, Scores
from fedtier.core.measured import GradientFigures, Measured, StepTimes
from fedtier.core.root import Course, RootMachine
from fedtier.errors import ConfigError, TrainingError, WireError
from fedtier.ids import BootNonce, FederationId, NodeId, RunId
from fedtier.limits import TRANSFERS_AT_ONCE, WINDOW_PARTS
from fedtier.model.layout import ParameterLayout, TensorSpec, Vector, model_digest
from fedtier.model.server_step import add
from fedtier.planner.estimates import Estimates
from fedtier.quantize.norm import sum_of_squares
from fedtier.runtime.mean import mean_gradient, next_model
from fedtier.runtime.updates import (
    answer_update,
    delta_update,
    figures_update,
    gradient_update,
)
from fedtier.storage.artefact_store import ArtefactStore
from fedtier.storage.cell_state import CellState
from fedtier.storage.outbox import Outbox
from fedtier.storage.snapshots import Snapshot, Snapshots
from fedtier.storage.spool import Spool as SpoolFiles
from fedtier.transport.base import Trouble, Will
from fedtier.wire.head import Head
from fedtier.wire.manifest import decode_model, decode_update, encode_model
from fedtier.wire.messages import Ack, Presence, Want
from fedtier.wire.packets import decode_packet, encode_packet
from fedtier.wire.plan import Plan
from fedtier.wire.topics import ALL, Topic, child_filters, parent_filters

FEDERATION = FederationId("test")
ARTEFACT = "ab" * 32


class _Inbox:
    def __init__(self, node: NodeProcess, side: str, cell: NodeId) -> None:
        self._node, self._side, self._cell = node, side, cell

    def connected(self) -> None:
        self._node.take(Connected(side=self._side))

    def not_connected(self, trouble: Trouble) -> None:
        raise AssertionError("a broker in memory lets everybody in")

    def disconnected(self, reason: str, *, taken_over: bool) -> None:
        self._node.take(Disconnected(side=self._side))

    def refused(self, topic: str, reason: str) -> None:
        raise AssertionError("a broker in memory lets everything pass")

    def failed(self, error: BaseException) -> None:
        raise AssertionError("a transport in memory has no thread") from error

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

    def __init__(self, world: World, node: str, *, client: str = "") -> None:
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
            self._connect("up", NodeId(shape.parents[node]), node + client)
        if node in shape.tiers:
            self._connect("down", self.node, f"{node}.cell{client}")

    def _make_machine(self) -> DeviceMachine | TierAggregator | RootMachine:
        world, shape = self.world, self.world.shape
        store = ArtefactStore(self.disk)
        stored, saved = store.get(), store.saved_parts()
        if self.node not in shape.tiers:
            held = stored[0] if stored is not None else world.devices_hold
            trainee = Trainee(
                artefact=held, layout=world.layout.digest, dimension=world.layout.dimension
            )
            return DeviceMachine(
                node=self.node, parent=NodeId(shape.parents[self.node]),
                part_bytes=world.part_bytes,
                presence=Presence(
                    status="online", nonce=self.nonce, ready=True, devices=1,
                    weight=shape.weight(self.node),
                ),
                trainee=trainee if held else Trainee(), saved=saved,
            )  # fmt: skip
        members = shape.children(self.node)
        least = world.members_min.get(self.node, len(members))
        spooled = SpoolFiles(self.disk).found()
        if self.node in shape.parents:
            state = CellState(self.disk)
            return TierAggregator(
                node=self.node, parent=NodeId(shape.parents[self.node]),
                tier=shape.tiers[self.node], members=members, members_min=least,
                part_bytes=world.part_bytes, nonce=self.nonce, announced=state.announced(),
                resume=state.resume(), spooled=spooled, artefact=stored, saved=saved,
            )  # fmt: skip
        return RootMachine(
            node=self.node, members=members, members_min=least, part_bytes=world.part_bytes,
            nonce=self.nonce, course=world.course(self.disk), expected=world.expected(),
            spooled=spooled,
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

    @property
    def events(self) -> list[str]:
        """The names of its notes, for tests to look in."""
        return [note.event for note in self.notes]

    def take(self, event: Event) -> None:
        if self.stopped is None:
            for effect in self.machine.handle(event, self.world.now_s):
                self._perform(effect)
            self._check_transfers()

    def cut(self, side: str) -> None:
        """Lose one connection; it stays away until ``reconnect``."""
        transport, cell = self._transports[side]
        if transport.connected:
            self.world.brokers[cell].cut(transport.client_id)

    def reconnect(self, side: str) -> None:
        transport, cell = self._transports[side]
        if self.stopped is None and self.world.brokers[cell].running:
            self.world.brokers[cell].reconnect(transport.client_id)

    def crash(self) -> None:
        """Lose the process: connections end without a farewell, memory is gone."""
        self.stopped = Stop(exit_code=137, reason="killed")
        for transport, _ in self._transports.values():
            transport.abort()

    def _check_transfers(self) -> None:
        cell = getattr(self.machine, "cell", None)
        if cell is not None:
            members = self.world.shape.children(self.node)
            receiving = sum(cell._intake.standing(child) == "receiving" for child in members)
            self.world.transfers[str(self.node)] = max(
                receiving, self.world.transfers[str(self.node)]
            )
            assert receiving <= TRANSFERS_AT_ONCE, "more than K transfers at once"

    def _perform(self, effect: Effect) -> None:
        world = self.world
        match effect:
            case Send():
                if isinstance(effect.message, (Want, Ack)):
                    assert len(effect.message.parts) <= WINDOW_PARTS, "more than a window"
                transport, cell = self._transports[effect.side]
                topic, payload, qos, retain = encode_packet(
                    effect.message, federation=FEDERATION, cell=cell, node=effect.node
                )
                transport.publish(topic, payload, qos=qos, retain=retain)
            case Note():
                self.notes.append(effect)
            case Reconnect():
                transport, _ = self._transports[effect.side]
                world.at(world.now_s, transport.reconnect)
            case Stop():
                self.stopped = effect
                for transport, _ in self._transports.values():
                    transport.close()
            case SavePart():
                ArtefactStore(self.disk).save_part(effect.part, afresh=effect.afresh)
            case Install():
                world.later(self, lambda: self._install(effect), takes_s=0.0)
            case Work():
                world.later(self, lambda: self._work(effect))
            case Aggregate():
                world.later(self, lambda: self._aggregate(effect))
            case Answer():
                world.later(self, lambda: self._answer(effect))
            case Spool():
                SpoolFiles(self.disk).put(effect.run, effect.path, effect.child, effect.blob)
            case Remember():
                CellState(self.disk).remember(effect.beneath, effect.members)
            case Keep():
                self.kept = effect
            case Finish():
                self.finished = effect
                world.save(self.disk, world.rounds_done, effect.head, finished=True)
            case Preempt():
                world.preempted.append((str(self.node), str(effect.job.path)))

    def _install(self, install: Install) -> Event:
        world = self.world
        world.installed.append((str(self.node), install.artefact))
        if self.node in world.unfit:
            return Installed(artefact=install.artefact, reason=world.unfit[self.node])
        assert install.blob == world.artefact_blob, "another artefact's bytes"
        ArtefactStore(self.disk).put(install.artefact, install.blob)
        if self.node in world.shape.tiers:
            return Installed(artefact=install.artefact)
        return Installed(
            artefact=install.artefact, layout=world.layout.digest,
            dimension=world.layout.dimension, weight=world.shape.weight(self.node),
        )  # fmt: skip

    def _work(self, work: Work) -> Event:
        outbox = Outbox(self.disk)
        stored = outbox.get(work.job)
        if stored is not None:
            return WorkDone(job=work.job, blob=stored)
        head = work.head
        start, _, _ = decode_model(work.model)
        self.world.trained.append((str(self.node), str(head.path)))
        try:
            carried = None
            if head.task == "gradient":
                blob = self._gradient(outbox, head, start)
            elif head.task == "evaluate":
                scores = Scores.of_device(self.node, examples=10, correct=7, loss_units=2**20)
                blob = figures_update(self.node, head, reason="", figures=Figures(scores=scores))
            else:
                end = self.world.train(self.node, head, start)
                steps = StepTimes.of_device(self.node, seconds=self.world.step_s(str(self.node)))
                measured = Measured(steps=steps if head.plan.pilot else StepTimes())
                blob = delta_update(
                    self.node, head, start=start, end=end,
                    weight=self.world.shape.weight(self.node),
                    figures=Figures(trained_steps=1, measured=measured),
                )  # fmt: skip
                steps_done = local_steps(head)
                trained = Trained(model=end, loss_sum=0.0, examples_seen=0, steps=steps_done)
                carried = to_carry(head, trained)
        except TrainingError as error:
            return WorkFailed(job=work.job, reason=str(error))
        outbox.put(work.job, blob, carried=carried)
        return WorkDone(job=work.job, blob=blob)

    def _gradient(self, outbox: Outbox, head: Head, x: Vector) -> bytes:
        """As a device does it, but for the gradients themselves, which are a function's."""
        end = kept_end(outbox, head)
        at_end = x if end is None else end
        loss, gradient, variance = self.world.gradient(self.node, x)
        change = self.world.gradient(self.node, at_end)[1] - gradient
        measured = GradientFigures.of_device(
            weight=self.world.shape.weight(self.node), loss=loss, variance=variance,
            kept=end is not None, moved=sum_of_squares(at_end - x), changed=sum_of_squares(change),
        )  # fmt: skip
        link = self.machine.link.exchanges
        figures = Figures(measured=Measured(gradients=measured), exchanges={head.tier: link})
        return gradient_update(
            self.node, head, gradient=gradient, change=change, weight=measured.weight,
            figures=figures,
        )  # fmt: skip

    def _measure(self, measure: Aggregate) -> Event:
        """As the cloud does it."""
        model, digest, _ = decode_model(measure.model)
        world, pilot = self.world, PilotLog(self.disk, measure.head.run)
        found = mean_gradient(SpoolFiles(self.disk), measure) if measure.came else None
        pilot.add_gradient(measure, found, model=model, parameters=model.size)
        if measure.head.path.round == world.plan.pilot:
            try:
                world.estimates = estimates_of(
                    pilot.findings, pilot.exchanges, world.plan, dimension=model.size,
                    devices=world.shape.devices,
                )  # fmt: skip
            except ConfigError as error:
                world.not_estimated = str(error)
        pilot.save()
        SpoolFiles(self.disk).drop(measure.head.run, measure.head.path)
        return Aggregated(job=measure.job, model=digest, blob=measure.model)

    def _aggregate(self, aggregate: Aggregate) -> Event:
        if aggregate.head.task == "gradient":
            return self._measure(aggregate)
        before, _, _ = decode_model(aggregate.model)
        spool = SpoolFiles(self.disk)
        self.world.check_sum(self, aggregate, spool)
        new = next_model(before, spool, aggregate, step=add)
        if aggregate.above is not None:
            CellState(self.disk).close(
                above=aggregate.above, done=aggregate.done, trained=aggregate.trained,
                model=new.model, blob=new.blob, figures=aggregate.figures,
            )  # fmt: skip
        else:
            self.world.model, self.world.blob = new.vector, new.blob
            self.world.rounds_done, self.world.rounds_trained = aggregate.done, aggregate.trained
            if aggregate.head.plan.pilot:
                pilot = PilotLog(self.disk, aggregate.head.run)
                pilot.add_round(aggregate)
                pilot.save()
            self.world.save(self.disk, aggregate.done, aggregate.head)
        spool.drop(aggregate.head.run, aggregate.head.path)
        return Aggregated(job=aggregate.job, model=new.model, blob=new.blob)

    def _answer(self, answer: Answer) -> Event:
        outbox = Outbox(self.disk)
        stored = outbox.get(answer.job)
        if stored is not None:
            return WorkDone(job=answer.job, blob=stored)
        link = self.machine.link.exchanges
        told = {answer.head.tier: link} if answer.head.task == "gradient" else {}
        figures = answer.figures + Figures(exchanges=told)
        blob = answer_update(self.node, answer, SpoolFiles(self.disk), figures=figures)
        outbox.put(answer.job, blob)
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
        members_min: Mapping[str, int] | None = None,
        run: int = 1,
        starting_order: list[str] | None = None,
        interleaving: int | None = None,
        work_s: Callable[[str], float] = lambda node: 0.0,
        gradient: GradientFunction | None = None,
        step_s: Callable[[str], float] = lambda node: 0.0,
        devices_hold: str = ARTEFACT,
        artefact_blob: bytes = b"an artefact",
    ) -> None:
        """Start every node.

        Args:
            shape: The tree.
            plan: What the cloud asks for.
            train: What devices do.
            disk: A directory for all of their disks.
            start: The first model.
            part_bytes: Of a published part.
            members_min: How many members a parent waits for, where not all.
            run: The run's number.
            starting_order: Of the nodes, where it matters.
            interleaving: A seed for whose message is delivered next; None = broker by broker.
            work_s: How long a node takes over a job.
            devices_hold: The artefact that devices have from the start; none where empty.
            artefact_blob: The one of the cloud, as it travels.
            gradient: What devices answer to a gradient's head.
            step_s: What devices say of how long a local step took.
        """
        self.shape, self.plan, self.train = shape, plan, train
        self.disk, self.part_bytes, self.members_min = disk, part_bytes, dict(members_min or {})
        self.work_s = work_s
        self.step_s = step_s
        self._gradient = gradient
        self.estimates: Estimates | None = None  # of a pilot, once it is over
        self.not_estimated = ""  # or why there are none
        self.devices_hold = devices_hold
        self.artefact, self.artefact_blob = ARTEFACT, artefact_blob
        self.unfit: dict[str, str] = {}  # nodes that cannot use an artefact, and why
        self.installed: list[tuple[str, str]] = []
        self.now_s = 0.0
        self.start_model = np.asarray(start, np.float32)
        self.layout = ParameterLayout(tensors=(TensorSpec(name="w", shape=self.start_model.shape),))
        self._dice = None if interleaving is None else random.Random(interleaving)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._entries = 0
        self._nonces = 0
        self.brokers = {NodeId(cell): MemoryBroker() for cell in shape.tiers}
        self.trained: list[tuple[str, str]] = []
        self.preempted: list[tuple[str, str]] = []
        self.sums: list[tuple[str, str, tuple[str, ...]]] = []
        self.transfers: Counter[str] = Counter()
        self._closed: set[tuple[object, ...]] = set()
        self._disks: Counter[str] = Counter()
        self.begin_run(run)
        self.nodes: dict[str, NodeProcess] = {}
        for node in starting_order or [*sorted(shape.tiers), *shape.devices]:
            self.start(node)

    # The run

    def begin_run(self, run: int, plan: Plan | None = None) -> None:
        """What a cloud that is started next will do."""
        self.run_id, self.plan = RunId(run), plan or self.plan
        self.model, self.rounds_done, self.rounds_trained = self.start_model, 0, 0
        self.blob = encode_model(self.model, model=self.digest, layout=self.layout.digest)

    @property
    def digest(self) -> str:
        return model_digest(self.layout.digest, self.model)

    @property
    def cloud(self) -> NodeProcess:
        return self.nodes["cloud"]

    def expected(self) -> Expected:
        """What the cloud knows of the tree: the shape it is to have."""
        shape = self.shape
        return expected_of(
            shape.topology(), where="the file",
            members_needed=lambda n: self.members_min.get(n, len(shape.children(n))),
        )  # fmt: skip

    def gradient(self, node: NodeId, model: Vector) -> tuple[float, Vector, float]:
        """What a device finds at a model: loss, gradient, and the variance of a batch's."""
        assert self._gradient is not None, "this world was given no gradients"
        return self._gradient(node, model)

    def course(self, disk: Path) -> Course:
        snapshot = Snapshots(disk).read()
        mine = snapshot is not None and not snapshot.finished and snapshot.run == self.run_id
        if snapshot is not None and mine:
            self.model, _, _ = decode_model(snapshot.blob)
            self.blob, self.rounds_done = snapshot.blob, snapshot.rounds_done
            self.rounds_trained = snapshot.rounds_trained
        return Course(
            run=self.run_id, epoch=snapshot.epoch if snapshot is not None and mine else 0,
            plan=self.plan, artefact=self.artefact, artefact_blob=self.artefact_blob,
            layout=self.layout.digest,
            dimension=self.layout.dimension, next_round=self.rounds_done,
            rounds_trained=self.rounds_trained, model=self.digest, blob=self.blob,
            gradient_known=PilotLog(disk, self.run_id).knows_gradient(self.rounds_done),
        )  # fmt: skip

    def save(self, disk: Path, rounds_done: int, head: Head, *, finished: bool = False) -> None:
        Snapshots(disk).write(
            Snapshot(
                run=head.run, epoch=head.epoch, rounds_done=rounds_done,
                rounds_trained=self.rounds_trained, finished=finished,
                plan="", artefact=head.artefact, model=self.digest, blob=self.blob,
            )
        )  # fmt: skip

    # What a test does to it

    def start(self, node: str, *, client: str = "") -> NodeProcess:
        """Start a node; with another client id it is a clone beside the first."""
        process = NodeProcess(self, node, client=client)
        self.nodes[node + client] = process
        return process

    def crash(self, node: str) -> None:
        self.nodes[node].crash()

    def restart(self, node: str) -> None:
        self.crash(node)
        self.start(node)

    def wipe(self, node: str) -> None:
        """Replace a node's disk by an empty one."""
        shutil.rmtree(self.disk / node)
        self._disks[node] += 1

    def lose_broker(self, cell: str) -> None:
        """Restart a broker: what it retained is gone, every client connects again."""
        self.brokers[NodeId(cell)].stop()
        self.brokers[NodeId(cell)].restart()

    def next_nonce(self) -> int:
        self._nonces += 1
        return self._nonces

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        self._entries += 1
        heapq.heappush(self._agenda, (time_s, self._entries, action))

    def later(
        self, node: NodeProcess, work: Callable[[], Event], *, takes_s: float | None = None
    ) -> None:
        def done() -> None:
            if node.stopped is None:
                event = work()
                self.at(self.now_s, lambda: node.take(event))  # a crash may come in between

        seconds = self.work_s(str(node.node)) if takes_s is None else takes_s
        self.at(self.now_s + seconds, done)

    # What must hold at every step

    def check_sum(self, node: NodeProcess, aggregate: Aggregate, spool: SpoolFiles) -> None:
        """One base model, no member twice, and no iteration that was closed before."""
        head = aggregate.head
        names = [str(member.node) for member in aggregate.came]
        assert len(set(names)) == len(names), "a member is counted twice"
        for member in aggregate.came:
            blob = spool.get(head.run, head.path, member.node)
            assert blob is not None
            assert decode_update(blob).manifest.base == head.model, "another base model"
            assert decode_update(blob).manifest.node == member.node
        key = (node.node, self._disks[str(node.node)], head.run, head.epoch, str(head.path))
        assert key not in self._closed, f"{key} is closed a second time"
        self._closed.add(key)
        self.sums.append((str(node.node), str(head.path), tuple(names)))

    def check_delivery(self, cell: NodeId, delivery: Delivery) -> None:
        """Nothing of another cell is ever on this cell's broker."""
        assert Topic.parse(delivery.topic).cell == cell, delivery.topic

    # Time

    def step(self) -> bool:
        """Deliver one message, or let time pass to the next timer or appointment."""
        busy = [broker for broker in self.brokers.values() if broker.pending]
        if busy:
            broker = busy[0] if self._dice is None else self._dice.choice(busy)
            return broker.deliver_next()
        if self._agenda and self._agenda[0][0] <= self.now_s:
            heapq.heappop(self._agenda)[2]()
            return True
        timers = [
            (node.machine.timer_s, node)
            for node in self.nodes.values()
            if node.stopped is None and node.machine.timer_s is not None
        ]
        due = [timer for timer, _ in timers] + [time_s for time_s, _, _ in self._agenda[:1]]
        if not due:
            return False
        self.now_s = max(self.now_s, min(due))
        for timer, node in timers:
            if timer <= self.now_s:
                node.take(Tick())
                again_s = node.machine.timer_s
                late = node.stopped is None and again_s is not None and again_s <= self.now_s
                assert not late, f"{node.node} would spin: its timer stays at {again_s}"
        return True

    def run(self, *, until: Callable[[World], bool] | None = None, limit_s: float = 3600) -> None:
        """Go on until the cloud has finished (or ``until``), within a bound of virtual time."""
        done = until or (lambda world: world.cloud.finished is not None)
        while not done(self):
            assert self.step(), "nothing left to happen"
            assert self.now_s < limit_s, f"not done after {limit_s} s of virtual time"

    def settle(self) -> None:
        """Let what was said last arrive."""
        while any(broker.deliver_next() for broker in self.brokers.values()):
            pass
