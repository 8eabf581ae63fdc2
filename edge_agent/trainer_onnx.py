"""Train with the artefact's compiled step: the trainer of every device."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edge_agent.out_of_memory import OutOfMemory
from edge_agent.train_steps import Arrays, run_steps
from fedtier.artefact.accumulate import accumulated_step
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.open_graph import OpenGraph
from fedtier.artefact.trainer import Trained, TrainTask
from fedtier.data.augmentation import Augmentation
from fedtier.data.examples import Examples

log = logging.getLogger(__name__)


class OnnxTrainer:
    """Runs local steps on an artefact's training graph; see ``fedtier.artefact.trainer.Trainer``.

    It keeps the open session and nothing else, so tasks may come in any order and any number of
    times; but once a whole batch has exceeded the memory, later ones are done by parts as well.
    """

    def __init__(
        self,
        artefact: Artefact,
        *,
        threads: int = 1,
        session: OpenGraph | None = None,
        gradient: OpenGraph | None = None,
    ) -> None:
        """Open the training graph in this process, or take one that is open elsewhere.

        Args:
            artefact: What to train.
            threads: Of a graph that is opened here.
            session: The training graph, open elsewhere.
            gradient: The gradient graph, for steps that exceed the memory of where they are done.
        """
        self._manifest = artefact.manifest
        self._session = session or artefact.train_session(threads=threads)
        self._outputs = artefact.manifest.optimiser.outputs
        self._gradient = gradient
        self._by_parts = False
        self._augmentation = Augmentation.from_json(
            artefact.manifest.augmentation, where=artefact.manifest.name
        )

    def train(
        self, task: TrainTask, examples: Examples, *, cancelled: Callable[[], bool]
    ) -> Trained | None:
        """Run the task's steps; ``None`` when cancelled.

        Raises:
            ConfigError: If the examples or the task do not suit the artefact.
            TrainingError: If the loss or the model is not finite, or the graphs are killed however
                they are run.
        """

        def step(feed: Arrays) -> Arrays:
            try:
                return self._step(feed)
            except OutOfMemory as error:
                self._make_do(error, path=str(task.path))
                return self._step(feed)

        return run_steps(
            task,
            examples,
            manifest=self._manifest,
            augmentation=self._augmentation,
            step=step,
            cancelled=cancelled,
        )

    def _step(self, feed: Arrays) -> Arrays:
        if self._by_parts:
            assert self._gradient is not None
            return accumulated_step(self._gradient, feed)
        # The session copies w in and out, microseconds in a step of milliseconds. A buffer bound
        # as input and output at once would be overwritten before backward has read it.
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))

    def _make_do(self, error: OutOfMemory, *, path: str) -> None:
        """Do with less memory from now on; without a gradient graph, hope for more.

        Raises:
            OutOfMemory: If parts of a batch are too much already.
        """
        if self._by_parts:
            raise error
        self._by_parts = self._gradient is not None
        event = "training by parts of a batch" if self._by_parts else "training once more"
        rows = self._manifest.microbatch if self._by_parts else self._manifest.batch
        log.warning(event, extra={"path": path, "rows": rows, "reason": str(error)})
