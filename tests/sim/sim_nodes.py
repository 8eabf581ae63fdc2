"""Small worlds of scripted nodes: a parent and its children that do what a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedtier.config.node_file import CellSection, NodeFile, NodeSection, ParentSection
from fedtier.core.effects import Effect
from fedtier.core.events import Event, Tick
from fedtier.ids import NodeId
from fedtier.runtime.host import Assembled
from fedtier.sim.host import SimHost
from fedtier.sim.world import SimBoot, World

URL = "mqtt://127.0.0.1:1883"


@dataclass
class Scripted:
    """A machine that answers events by a script, and wakes when it is told to."""

    script: Callable[[Event], Sequence[Effect]] = lambda event: ()
    timer_s: float | None = None
    events: list[tuple[float, Event]] = field(default_factory=list)

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        self.events.append((now_s, event))
        if isinstance(event, Tick):
            self.timer_s = None
        return list(self.script(event))


def node_file(node: str, *, parent: str | None = None, members: Sequence[str] = ()) -> NodeFile:
    role = "agent" if not members else "cloud" if parent is None else "gateway"
    return NodeFile(
        node=NodeSection(
            id=node, role=role, federation="f", tier=bool(members), state_dir="unused",
            part_bytes=4096,
        ),
        parent=None if parent is None else ParentSection(url=URL, id=parent),
        cell=CellSection(url=URL, members=tuple(members)) if members else None,
    )  # fmt: skip


def make_world(
    disk: Path,
    machines: Mapping[str, Scripted],
    *,
    perform: Callable[[SimHost, Effect], None] = lambda host, effect: None,
    cells: Mapping[str, Sequence[str]] = {"c": ("a", "b")},
    seed: int = 1,
    **options: object,
) -> World:
    """The nodes of these cells, scripted where a machine is given; they are not started."""
    parents = {child: parent for parent, children in cells.items() for child in children}
    files = {
        NodeId(n): node_file(n, parent=parents.get(n), members=cells.get(n, ()))
        for n in dict.fromkeys([*cells, *parents])
    }

    def assemble(boot: SimBoot) -> Assembled:
        host = boot.host(machines.get(boot.file.id) or Scripted())
        return Assembled(host=host, perform=lambda effect: perform(host, effect))

    return World(files, assemble=assemble, directory=disk, seed=seed, **options)
