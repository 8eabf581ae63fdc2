"""Train with torch's own autograd: slow to start and large, and the oracle of the compiled step."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from edge_agent.gradients import measure
from edge_agent.train_steps import OneByOne, run_steps
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.torch_step import TorchStep
from fedtier.artefact.trainer import Gradients, GradientTask, Trained, TrainTask
from fedtier.data.augmentation import Augmentation
from fedtier.data.examples import Examples


class TorchTrainer:
    """Runs the same batches through a torch module; see ``fedtier.artefact.trainer.Trainer``."""

    def __init__(self, factory: Callable[[], nn.Module], manifest: ArtefactManifest) -> None:
        self._graph = OneByOne(TorchStep(factory(), manifest))
        self._manifest = manifest
        self._augmentation = Augmentation.from_json(manifest.augmentation, where=manifest.name)

    def train(
        self, task: TrainTask, examples: Examples, *, cancelled: Callable[[], bool]
    ) -> Trained | None:
        """Run the task's steps; ``None`` when cancelled.

        Raises:
            ConfigError: If the examples or the task do not suit the artefact.
            TrainingError: If the loss or the model is not finite.
        """
        return run_steps(
            task,
            examples,
            manifest=self._manifest,
            augmentation=self._augmentation,
            graph=self._graph,
            cancelled=cancelled,
        )

    def gradients(
        self, task: GradientTask, examples: Examples, *, cancelled: Callable[[], bool]
    ) -> Gradients | None:
        """Measure the task's gradients; ``None`` when cancelled.

        Raises:
            ConfigError: If the examples do not suit the artefact.
            TrainingError: If a loss or a gradient is not finite.
        """
        return measure(
            task,
            examples,
            manifest=self._manifest,
            augmentation=self._augmentation,
            graph=self._graph,
            cancelled=cancelled,
        )
