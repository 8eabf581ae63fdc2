"""A device in the simulator: the agent as it is, but its graphs run in the simulator's process.

The same graphs, draws and arithmetic: what comes out has the bits of a device of its own. All
devices share the open graphs, and train on a few threads while virtual time passes for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from edge_agent.board_reading import Reading
from edge_agent.gradients import batches_of
from edge_agent.kit import Kit, Opened, first_kit, make_kit
from edge_agent.run import assemble
from edge_agent.trainer_onnx import OnnxTrainer
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.open_graph import OpenGraph
from fedtier.artefact.trainer import Gradients, GradientTask, Trained, Trainer, TrainTask
from fedtier.config.board import BoardTable
from fedtier.config.node_file import NodeFile
from fedtier.data.examples import DeviceData, Examples
from fedtier.errors import ConfigError, TrainingError
from fedtier.model.layout import Vector
from fedtier.runtime.host import Assembled
from fedtier.sim.roles import Setting
from fedtier.sim.world import SimBoot
from fedtier.storage.artefact_store import ArtefactStore

T = TypeVar("T")

_BOARD = Reading(minute=0)
"""Of a simulated device: it shows nothing, so nothing hinders it."""


def simulated(boot: SimBoot, setting: Setting) -> Assembled:
    """Put a device together, in the simulator."""
    device = _Simulated(boot, setting)
    where = f"the node file of {boot.file.id}"
    kit = first_kit(boot.file, ArtefactStore(boot.state_dir), device.equip, where=where)
    return assemble(boot, kit, device.equip, where=where, read_board=lambda: _BOARD)


class _Shared:
    """What all devices of a simulation have in common."""

    def __init__(self) -> None:
        self.data: dict[str, DeviceData] = {}  # by digest: equal recordings, treated alike
        self.trainers: dict[tuple[str, str], Trainer] = {}  # by artefact and lowering
        self.evaluations: dict[str, OpenGraph] = {}  # by artefact


@dataclass(frozen=True)
class _Simulated:
    """How one device is equipped, and how its training takes its time."""

    boot: SimBoot
    setting: Setting

    @property
    def shared(self) -> _Shared:
        return self.setting.shared_as(_Shared)

    def equip(self, file: NodeFile, artefact: Artefact, *, where: str) -> Kit:
        """As ``make_kit``; what is equal is in memory once."""
        kit = make_kit(file, artefact, where=where, opening=self._open)
        return replace(kit, data=self.shared.data.setdefault(kit.data.digest, kit.data))

    def _open(self, artefact: Artefact, board: BoardTable) -> Opened:
        del board  # of the device, whose threads and memory are not simulated
        found = self.shared.evaluations.get(artefact.digest)
        if found is None:
            found = self.shared.evaluations[artefact.digest] = artefact.evaluate_session()
        return Opened(graphs=_NoProcess(), trainers=_Trainers(self, artefact), evaluate=found)


class _NoProcess:
    """Graphs in this process, which is not the device's: they count for nothing."""

    def usage(self) -> tuple[int, int]:
        return 0, 0

    def end(self) -> None:
        """Others train on."""


@dataclass(frozen=True)
class _Trainers:
    """The shared trainers of an artefact; where the plan says ``auto``, the first."""

    device: _Simulated
    artefact: Artefact

    def trainer(
        self, asked: str, model: Vector, *, cancelled: Callable[[], bool]
    ) -> Trainer | None:
        del model, cancelled
        try:
            lowering = self.artefact.manifest.lowering_for(asked)
        except ConfigError as error:
            raise TrainingError(str(error)) from error
        known, key = self.device.shared.trainers, (self.artefact.digest, lowering)
        if key not in known:
            known[key] = OnnxTrainer(self.artefact, lowering=lowering)
        return _Taking(known[key], self.artefact.manifest, self.device)


@dataclass(frozen=True)
class _Taking:
    """A trainer whose steps are done on a thread, while they take their virtual time."""

    trainer: Trainer
    manifest: ArtefactManifest
    device: _Simulated

    def train(
        self, task: TrainTask, examples: Examples, *, cancelled: Callable[[], bool]
    ) -> Trained | None:
        """As ``Trainer.train``."""
        work = partial(self.trainer.train, task, examples, cancelled=_never)
        return self._taking(work, steps=task.steps, address=str(task.path), cancelled=cancelled)

    def gradients(
        self, task: GradientTask, examples: Examples, *, cancelled: Callable[[], bool]
    ) -> Gradients | None:
        """As ``Trainer.gradients``; a gradient takes as long as a step."""
        work = partial(self.trainer.gradients, task, examples, cancelled=_never)
        steps = len(task.models) * batches_of(examples, self.manifest)
        return self._taking(work, steps=steps, address="gradient", cancelled=cancelled)

    def _taking(
        self, work: Callable[[], T], *, steps: int, address: str, cancelled: Callable[[], bool]
    ) -> T | None:
        setting, boot = self.device.setting, self.device.boot
        # To the end, whatever happens meanwhile: a pure function, so nothing hangs on when.
        working = setting.pool.submit(work)
        boot.sleep(steps * setting.step_s(boot.file.id, address), given_up=cancelled)
        return None if cancelled() else working.result()


def _never() -> bool:
    return False
