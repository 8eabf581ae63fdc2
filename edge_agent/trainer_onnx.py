"""Train with the artefact's compiled step and onnxruntime: the trainer of every device."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.train_steps import Arrays, run_steps
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.trainer import Trained, TrainTask
from fedtier.data.augmentation import Augmentation
from fedtier.data.examples import Examples


class OnnxTrainer:
    """Runs local steps on an artefact's training graph; see ``fedtier.artefact.trainer.Trainer``.

    It keeps the open session and nothing else, so tasks may come in any order and any number of
    times.
    """

    def __init__(self, artefact: Artefact, *, threads: int = 1) -> None:
        self._manifest = artefact.manifest
        self._session = artefact.train_session(threads=threads)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._augmentation = Augmentation.from_json(
            artefact.manifest.augmentation, where=artefact.manifest.name
        )

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
            step=self._step,
            cancelled=cancelled,
        )

    def _step(self, feed: Arrays) -> Arrays:
        # The session copies w in and out, microseconds in a step of milliseconds. A buffer bound
        # as input and output at once would be overwritten before backward has read it.
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
