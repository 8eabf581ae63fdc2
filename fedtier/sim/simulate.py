"""Run a federation in virtual time: the way in, for the command line and for a notebook."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from fedtier.budget import Budget
from fedtier.config.federation import Federation
from fedtier.config.named import check_named
from fedtier.config.node_file import NodeFile, parse_node_file
from fedtier.config.simulation_tables import SimulatedChangeTable, SimulatedLinkTable
from fedtier.errors import EXIT_DONE, EXIT_UNTRAINED, FedtierError
from fedtier.ids import NodeId
from fedtier.render.node_files import render_node_files
from fedtier.runtime.host import Assembled
from fedtier.show.progress import Progress
from fedtier.sim.faults import Befallen, Faults
from fedtier.sim.invariants import Invariants
from fedtier.sim.line import Line
from fedtier.sim.roles import Setting, load_roles
from fedtier.sim.times import StepTimes
from fedtier.sim.world import SimBoot, World
from fedtier.storage.durable import write_durably

_MEMORY = Path("/dev/shm")

OnRound = Callable[[Mapping[str, Any]], None]
"""Is told of every round that has closed: its line of ``metrics.jsonl``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A run that has been simulated; times in it are virtual seconds."""

    report: Mapping[str, Any]  # the document of report.json
    rounds: Sequence[Mapping[str, Any]]  # the lines of metrics.jsonl
    directory: Path | None  # where the run is written down, if it was to be kept
    trace: str | None = None  # digest of all that was delivered, and when; if it was checked
    befallen: Befallen | None = None  # how many faults there were, if any were asked for

    @property
    def accuracy(self) -> float | None:
        """On all held-out examples, in [0, 1]; None where there are none."""
        found: float | None = self.report["accuracy"]
        return found

    @property
    def model_digest(self) -> str:
        """SHA-256 of the model, as the devices and the cloud have it at the end."""
        found: str = self.report["model_digest"]
        return found

    @property
    def seconds(self) -> float:
        """Virtual seconds of the run."""
        found: float = self.report["seconds"]
        return found


def simulate(
    federation: Federation,
    *,
    seed: int | None = None,
    rounds: int | None = None,
    pilot: int | None = None,
    out: str | PathLike[str] | None = None,
    faults: Faults | None = None,
    checks: bool = False,
    limit_s: float = float("inf"),
    threads: int | None = None,
    on_start: Callable[[], None] = lambda: None,
    on_round: OnRound = lambda row: None,
) -> Simulated:
    """Train a federation in this process, in virtual time.

    It runs the runtime's own machines, performers and trainers. The result is a function of the
    federation and the seed; with all members in every iteration, the model is the same to the bit
    as that of real processes and brokers.

    Args:
        federation: What ``load`` returns.
        seed: In place of the file's.
        rounds: In place of the file's.
        pilot: Rounds at the beginning in which the run is measured; None for none.
        out: A directory for the run, which holds no other; without one nothing is kept but what is
            returned.
        faults: What befalls it, from its start on; None = nothing.
        checks: Whether what must always hold is looked at: see ``fedtier.sim.invariants``.
        limit_s: Virtual seconds within which the run is to end.
        threads: For training; None = one for each processor. The result does not depend on it.
        on_start: Is called once all nodes have been started: what cannot be has been refused.
        on_round: Is told of every round as it closes.

    Raises:
        ConfigError: If the federation cannot be simulated, or ``out`` holds a run.
        StorageError: If a disk does not take what is written.
        AssertionError: If something that is checked does not hold, or the run does not end.
    """
    check_named(federation, where=federation.where, all_here=True)
    directory = None if out is None else Path(out)
    with _workplace(threads or os.cpu_count() or 1) as (state_dir, pool):
        run_dir = directory or state_dir / "run"
        setting = Setting(
            federation=federation,
            run_dir=run_dir,
            rounds=rounds,
            seed=seed,
            pilot=pilot,
            pool=pool,
            step_s=StepTimes(federation, seed=_seed(federation, seed)),
        )
        world = world_of(setting, state_dir)
        invariants = Invariants(world) if checks else None
        _have_links_change(world, federation)
        befallen = None if faults is None else faults.befall(world)
        progress = Progress(run_dir / "metrics.jsonl")
        cloud = world.cloud
        world.start()
        on_start()

        def ended() -> bool:
            for row in progress.look() if cloud.host.worked() else ():
                on_round(row)
            return cloud.done

        world.run(until=ended, limit_s=limit_s)
        if cloud.host.exit_code not in (EXIT_DONE, EXIT_UNTRAINED):
            raise FedtierError(f"the simulated cloud ended with code {cloud.host.exit_code}")
        return Simulated(
            report=_completed(run_dir / "report.json", world, federation),
            rounds=progress.rows,
            directory=directory,
            trace=None if invariants is None else invariants.trace,
            befallen=befallen,
        )


def _completed(path: Path, world: World, federation: Federation) -> dict[str, Any]:
    """The report, with what only the simulator knows written into it."""
    report: dict[str, Any] = json.loads(path.read_bytes())
    report["nodes"] = [
        {
            "id": id_,
            "tier": federation.topology.node(id_).tier,
            "peak_rss_bytes": None,
            "cpu_seconds": round(node.host.busy_s, 3),
        }
        for id_, node in sorted(world.nodes.items())
    ]
    write_durably(path, (json.dumps(report, indent=2) + "\n").encode())
    return report


def world_of(setting: Setting, state_dir: Path) -> World:
    """The nodes of a federation, none of them started."""
    roles = load_roles()
    federation = setting.federation

    def assemble(boot: SimBoot) -> Assembled:
        return roles[boot.file.node.role](boot, setting)

    return World(
        node_files(federation, state_dir),
        assemble=assemble,
        directory=state_dir / "state",
        seed=_seed(federation, setting.seed),
        line_of=lambda child: _line(federation, child),
    )


def node_files(federation: Federation, state_dir: Path) -> dict[NodeId, NodeFile]:
    """A node file for every node, as for real ones, without what is not simulated."""
    bare = replace(
        federation,
        inference=None,
        links=tuple(replace(link, budget=Budget()) for link in federation.links),
        nodes={id_: replace(extras, board=None) for id_, extras in federation.nodes.items()},
    )
    texts = render_node_files(
        bare,
        directory=state_dir,
        federation_file=Path(federation.where),
        broker_urls=dict.fromkeys(federation.topology.parents(), "mqtt://127.0.0.1:1883"),
        broker_kind="url",
    )
    return {
        node: parse_node_file(text, where=f"the node file of {node}", directory=state_dir)
        for node, text in texts.items()
    }


def _have_links_change(world: World, federation: Federation) -> None:
    """Make the appointments that the file wants."""
    for change in federation.simulation.change:

        def befall(change: SimulatedChangeTable = change) -> None:
            for child in world.nodes:
                if child != federation.topology.cloud and _link(federation, child) == change.number:
                    world.change_line(child, _line_of(change))

        world.agenda.at(change.at_s, befall)


def _line(federation: Federation, child: NodeId) -> Line:
    """Of a child to its parent's broker: that of the link it sends through."""
    return _line_of(federation.simulation.link[_link(federation, child) - 1])


def _link(federation: Federation, child: NodeId) -> int:
    """Through which a child sends."""
    parent = federation.topology.parent(child)
    assert parent is not None, "a link leads up"
    return federation.topology.cell(parent).link


def _line_of(table: SimulatedLinkTable) -> Line:
    return Line(
        rate_bytes_per_s=table.rate_bytes_per_s,
        latency_s=table.latency_s,
        jitter_s=table.jitter_s,
        loss=table.loss,
    )


def _seed(federation: Federation, seed: int | None) -> int:
    return federation.plan.seed if seed is None else seed


@contextmanager
def _workplace(threads: int) -> Iterator[tuple[Path, Executor]]:
    """A directory for the nodes' disks, in memory where the system has such, and some threads."""
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="fedtier-sim-", dir=place) as directory,
        ThreadPoolExecutor(max_workers=threads, thread_name_prefix="train") as pool,
    ):
        yield Path(directory), pool
