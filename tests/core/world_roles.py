"""A device whose trainer is a function, and a cloud whose run is given; the rest is the product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import edge_agent.run
from cloud.performer import Performer, Places
from edge_agent.board_reading import Reading
from edge_agent.kit import Kit, Opened
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.blob import decode_artefact
from fedtier.artefact.trainer import Gradients, GradientTask, Trained, TrainTask
from fedtier.config.node_file import NodeFile
from fedtier.core.root import RootMachine
from fedtier.data.examples import DeviceData, Examples
from fedtier.errors import ConfigError
from fedtier.runtime.host import Assembled
from fedtier.sim.world import SimBoot
from fedtier.storage.artefact_store import ArtefactStore
from fedtier.storage.spool import Spool

if TYPE_CHECKING:
    from world import World


def make_cloud(boot: SimBoot, world: World) -> Assembled:
    """The product's machine and performer, on the world's run."""
    file = boot.file
    world.run_dir.mkdir(exist_ok=True)
    course = world.course(boot.state_dir)
    machine = RootMachine(
        node=file.id, members=file.members, members_min=file.members_min,
        part_bytes=file.node.part_bytes, nonce=boot.nonce, course=course,
        expected=world.expected(), spooled=Spool(boot.state_dir / "spool").found(),
    )  # fmt: skip
    host = boot.host(machine)
    performer = Performer(
        federation=file.federation, course=course, artefact=world.artefact, evaluator=None,
        places=Places(state_dir=boot.state_dir, run_dir=world.run_dir), host=host,
        topology=world.shape.topology(), part_bytes=file.node.part_bytes,
    )  # fmt: skip
    performer.begin()
    return Assembled(host=host, perform=performer.perform)


def make_agent(boot: SimBoot, world: World) -> Assembled:
    """The product's device, with what it has stored or was given."""

    def equip(file: NodeFile, artefact: Artefact, *, where: str) -> Kit:
        if file.id in world.unfit:
            raise ConfigError(world.unfit[file.id])
        opened = Opened(graphs=_NoGraphs(), trainers=_Function(world, boot), evaluate=_SEVEN)
        return Kit(artefact=artefact, opened=opened, data=_DATA, weight=file.node.weight)

    stored = ArtefactStore(boot.state_dir).get()
    held = world.devices_hold
    if stored is not None:
        held = decode_artefact(stored[1], digest=stored[0])
    kit = None if held is None else equip(boot.file, held, where="")
    return edge_agent.run.assemble(boot, kit, equip, where="", read_board=lambda: _BOARD)


@dataclass
class _Function:
    """The trainer of every artefact and lowering."""

    world: World
    boot: SimBoot

    def trainer(self, asked, model, *, cancelled):
        return self

    def train(self, task: TrainTask, examples: Examples, *, cancelled) -> Trained:
        node = self.boot.file.id
        self.world.trained.append((node, str(task.path)))
        end = self.world.train(node, task, task.model)
        seconds = task.steps * self.world.step_s(node)
        if seconds:
            self.boot.sleep(seconds, given_up=cancelled)
        return Trained(model=end, loss_sum=0.0, examples_seen=task.steps, steps=task.steps)

    def gradients(self, task: GradientTask, examples: Examples, *, cancelled) -> Gradients:
        found = [self.world.gradient(self.boot.file.id, model) for model in task.models]
        losses, means, variances = zip(*found, strict=True)
        return Gradients(losses=losses, means=means, variances=variances, batches=2)


class _NoGraphs:
    def usage(self):
        return 0, 0

    def end(self): ...


class _Says:
    """An evaluation graph that gives every example the same logits."""

    name, type, shape = "x", "tensor(float)", (10, 1)

    def get_inputs(self):
        return self, self

    def get_outputs(self):
        return (self,)

    def run(self, names, feed):
        return [np.tile(np.float32([1, 0]), (len(feed["x"]), 1))]


_BOARD = Reading(minute=0)  # it shows nothing
_SEVEN = _Says()  # of ten examples it has seven right
_TEN = Examples(x=np.zeros((10, 1), np.float32), y=np.repeat([0, 1], [7, 3]))
_DATA = DeviceData(train=_TEN, holdout=_TEN, untrained=(), fitted=(), digest="00" * 32)
