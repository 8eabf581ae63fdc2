"""A whole tree in one thread: the simulator's world, with devices that train by a function.

Every cell has a broker of its own. Gateways are the product's own; devices and the cloud are its
machines and performers, too, but a device's trainer is a function, and the cloud's plan is given.
Restarts keep a node's disk and lose its memory. What must always hold is watched all the time.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from world_artefact import make_artefact
from world_roles import make_agent, make_cloud
from world_shapes import GradientFunction, Shape, TrainFunction

import gateway.run
from cloud.estimate import ESTIMATES_FILE
from cloud.expected import expected_of
from cloud.pilot import PilotLog
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.blob import encode_artefact
from fedtier.config.node_file import CellSection, DataSection, NodeFile, NodeSection, ParentSection
from fedtier.core.effects import (
    Aggregate,
    Effect,
    Finish,
    Install,
    Keep,
    Note,
    Preempt,
    Side,
    Stop,
)
from fedtier.core.events import Aggregated, Event
from fedtier.core.expected import Expected
from fedtier.core.root import Course
from fedtier.ids import FederationId, NodeId, RunId
from fedtier.model.layout import Vector, model_digest
from fedtier.planner.estimates import Estimates, load_estimates
from fedtier.sim import world as sim
from fedtier.sim.broker import MemoryTransport
from fedtier.sim.host import EXIT_KILLED
from fedtier.sim.invariants import Invariants
from fedtier.sim.line import DIRECT, Line
from fedtier.storage.snapshots import Snapshots
from fedtier.wire.manifest import decode_model, encode_model
from fedtier.wire.plan import Plan

FEDERATION = FederationId("test")
ROLES = {"agent": make_agent, "gateway": lambda boot, world: gateway.run.assemble(boot),
         "cloud": make_cloud}  # fmt: skip

# Of a seeded interleaving: messages that are sent at one time arrive in any order within it, but
# for those of one connection.
JITTER_S = 0.05


class NodeProcess:
    """One boot of a node, and what it did."""

    def __init__(self, world: World, place: sim.SimNode) -> None:
        self.world, self.place = world, place
        self.node, self.nonce, self.machine = place.file.id, place.nonce, place.machine
        self.garbage: list[str] = []
        self.notes: list[Note] = []
        self.finished: Finish | None = None
        self.kept: Keep | None = None
        self._host = place.host
        self._stop: Stop | None = None
        self._aggregate: Aggregate | None = None
        self._host.watch(self._take)

    @property
    def events(self) -> list[str]:
        """The names of its notes, for tests to look in."""
        return [note.event for note in self.notes]

    @property
    def stopped(self) -> Stop | None:
        """Why it is no more, if it was killed or must not go on."""
        if self._host.exit_code == EXIT_KILLED:
            return Stop(exit_code=EXIT_KILLED, reason="killed")
        return self._stop

    def transport(self, side: Side) -> MemoryTransport:
        return self.place.transport(side)

    def cut(self, side: Side) -> None:
        """Lose one connection; it stays away until ``reconnect``."""
        self.place.cut(side)

    def reconnect(self, side: Side) -> None:
        self.place.reconnect(side)

    def _take(self, shown: Effect | Event) -> None:
        world = self.world
        match shown:
            case Note(event="garbage"):
                self.garbage.append(shown.fields["reason"])
            case Note():
                self.notes.append(shown)
            case Stop():
                self._stop = shown
            case Finish():
                self.finished = shown
            case Keep():
                self.kept = shown
            case Install():
                world.installed.append((self.node, shown.artefact))
            case Preempt():
                world.preempted.append((self.node, str(shown.job.path)))
            case Aggregate():
                self._aggregate = shown
            case Aggregated():
                self._summed(shown)

    def _summed(self, aggregated: Aggregated) -> None:
        aggregate = self._aggregate
        assert aggregate is not None
        assert aggregate.job == aggregated.job
        if aggregate.head.task == "gradient":
            return
        names = tuple(str(member.node) for member in aggregate.came)
        self.world.sums.append((self.node, str(aggregate.head.path), names))
        if aggregate.above is None:
            self.world.advance(aggregate.done, aggregate.trained, aggregated.blob)


class _Tree(sim.World):
    """Nonces in the order of the boots, so that of two parents the first has the smaller one."""

    _nonces = 0

    def random64(self) -> int:
        self._nonces += 1
        return self._nonces


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
        artefact: Artefact | None = None,
        bare: bool = False,
        devices_hold: Artefact | None = None,
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
            interleaving: A seed for whose message arrives next; None = in the order of sending.
            work_s: How long a node takes over a job, besides its local steps.
            gradient: What devices answer to a gradient's head.
            step_s: How long a device takes over a local step.
            artefact: The one of the cloud; some artefact for the first model by default.
            bare: Whether devices have no artefact from the start.
            devices_hold: The one that they have; the cloud's by default.
        """
        self.shape, self.plan, self.train = shape, plan, train
        self.disk, self.part_bytes, self.members_min = disk, part_bytes, dict(members_min or {})
        self.work_s, self.step_s = work_s, step_s
        self._gradient = gradient
        self.start_model = np.asarray(start, np.float32)
        self.artefact = artefact or make_artefact(len(self.start_model))
        self.layout = self.artefact.layout
        self.devices_hold = None if bare else devices_hold or self.artefact
        self.unfit: dict[str, str] = {}  # nodes that cannot use an artefact, and why
        self.installed: list[tuple[str, str]] = []
        self.trained: list[tuple[str, str]] = []
        self.preempted: list[tuple[str, str]] = []
        self.sums: list[tuple[str, str, tuple[str, ...]]] = []
        self.nodes: dict[str, NodeProcess] = {}
        self.begin_run(run)
        jitter_s = 0.0 if interleaving is None else JITTER_S
        self.line = Line(jitter_s=jitter_s)
        self.sim = _Tree(
            {NodeId(node): self._file(node) for node in (*shape.tiers, *shape.devices)},
            assemble=lambda boot: ROLES[boot.file.node.role](boot, self),
            directory=disk,
            seed=interleaving or 0,
            line_of=lambda child: self.line if jitter_s else DIRECT,
            takes_s=self._takes_s,
        )
        self.invariants = Invariants(self.sim)
        self.sim.watchers.append(self._started)
        self.brokers = self.sim.brokers
        for node in starting_order or [*sorted(shape.tiers), *shape.devices]:
            self.start(node)

    def _file(self, node: str) -> NodeFile:
        shape, url = self.shape, "mqtt://127.0.0.1:1883"
        parent, tier = shape.parents.get(node), shape.tiers.get(node)
        cell = CellSection(
            url=url, members=tuple(shape.children(node)), members_min=self.members_min.get(node)
        )
        role = "agent" if tier is None else "cloud" if parent is None else "gateway"
        return NodeFile(
            node=NodeSection(
                id=node, role=role, federation=FEDERATION, tier=tier or 0,
                state_dir=str(self.disk / node), part_bytes=self.part_bytes,
                weight=shape.weight(node) if tier is None else 1,
            ),
            parent=None if parent is None else ParentSection(url=url, id=parent),
            cell=None if tier is None else cell,
            data=DataSection(source="none") if tier is None else None,
        )  # fmt: skip

    def _takes_s(self, node: NodeId, effect: Effect) -> float:
        return 0.0 if isinstance(effect, Install | Keep | Finish) else self.work_s(node)

    def _started(self, place: sim.SimNode) -> None:
        self.nodes[place.name] = NodeProcess(self, place)

    # The run

    def begin_run(self, run: int, plan: Plan | None = None) -> None:
        """What a cloud that is started next will do."""
        self.run_id, self.plan = RunId(run), plan or self.plan
        self.model, self.rounds_done, self.rounds_trained = self.start_model, 0, 0

    def advance(self, rounds_done: int, rounds_trained: int, blob: bytes) -> None:
        """The cloud has, from now on, this model."""
        self.model, _, _ = decode_model(blob)
        self.rounds_done, self.rounds_trained = rounds_done, rounds_trained

    @property
    def transfers(self) -> Counter[NodeId]:
        """How many updates have travelled to each parent at once, at the most."""
        return self.invariants.transfers

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

    @property
    def run_dir(self) -> Path:
        """Of the run that the cloud does, or did last."""
        return self.disk / f"run-{self.run_id}"

    @property
    def estimates(self) -> Estimates | None:
        """What a pilot came to, once it is over."""
        file = self.run_dir / ESTIMATES_FILE
        return load_estimates(file) if file.exists() else None

    def course(self, disk: Path) -> Course:
        """Of a cloud that is started now: its snapshot's, if that is of this run."""
        snapshot, epoch = Snapshots(disk).read(), 0
        if snapshot is not None and snapshot.run == self.run_id:
            self.advance(snapshot.rounds_done, snapshot.rounds_trained, snapshot.blob)
            epoch = snapshot.epoch
        return Course(
            run=self.run_id, epoch=epoch, plan=self.plan, artefact=self.artefact.digest,
            artefact_blob=encode_artefact(self.artefact), layout=self.layout.digest,
            dimension=self.layout.dimension, next_round=self.rounds_done,
            rounds_trained=self.rounds_trained, model=self.digest,
            blob=encode_model(self.model, model=self.digest, layout=self.layout.digest),
            gradient_known=PilotLog(disk, self.run_id).knows_gradient(self.rounds_done),
        )  # fmt: skip

    # What a test does to it

    def start(self, node: str, *, client: str = "") -> NodeProcess:
        """Start a node; with another client id it is a clone beside the first."""
        places = self.sim.nodes
        if client:
            file = places[NodeId(node)].file
            places[NodeId(node + client)] = sim.SimNode(self.sim, file, suffix=client)
        places[NodeId(node + client)].start()
        return self.nodes[node + client]

    def crash(self, node: str) -> None:
        self.sim.nodes[NodeId(node)].crash()

    def restart(self, node: str) -> None:
        self.crash(node)
        self.start(node)

    def wipe(self, node: str) -> None:
        """Replace a node's disk by an empty one."""
        self.sim.nodes[NodeId(node)].lose_disk()

    def lose_broker(self, cell: str) -> None:
        """Restart a broker: what it retained is gone, every client connects again."""
        self.sim.restart_broker(NodeId(cell))

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        self.sim.agenda.at(time_s, action)

    # Time

    @property
    def now_s(self) -> float:
        return self.sim.agenda.now_s

    def step(self) -> bool:
        """Let the next thing happen."""
        return self.sim.agenda.step()

    def run(self, *, until: Callable[[World], bool] | None = None, limit_s: float = 3600) -> None:
        """Go on until the cloud has finished (or ``until``), within a bound of virtual time."""
        done = until or (lambda world: world.cloud.finished is not None)
        self.sim.run(until=lambda: done(self), limit_s=limit_s)

    def settle(self) -> None:
        """Let what was said last arrive, and be answered, on lines that take no time or little."""
        until_s = self.now_s + 20 * self.line.jitter_s
        for _ in itertools.count():
            next_s = self.sim.agenda.next_s
            if next_s is None or next_s > until_s:
                return
            self.step()
