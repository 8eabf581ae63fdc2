"""Train with the artefact's compiled step: the trainer of every device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from edge_agent.out_of_memory import OutOfMemory
from edge_agent.train_steps import Arrays, ChainedGraph, OneByOne, run_steps
from fedtier.artefact.accumulate import accumulated_step
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.open_graph import OpenGraph
from fedtier.artefact.trainer import Gradients, GradientTask, Trained, TrainTask
from fedtier.data.augmentation import Augmentation
from fedtier.data.examples import Examples

log = logging.getLogger(__name__)


class OnnxTrainer:
    """Runs local steps on an artefact's training graph; see ``fedtier.artefact.trainer.Trainer``.

    It keeps the open graph and nothing else, so tasks may come in any order and any number of
    times; but once a whole batch has exceeded the memory, later ones are done by parts as well.
    """

    def __init__(
        self,
        artefact: Artefact,
        *,
        lowering: str = "",
        threads: int = 1,
        graph: ChainedGraph | None = None,
        gradient: OpenGraph | None = None,
    ) -> None:
        """Open the training graph in this process, or take one that is open elsewhere.

        Args:
            artefact: What to train.
            lowering: Of a graph that is opened here, as a plan names it.
            threads: Of the same.
            graph: The training graph, open elsewhere.
            gradient: The gradient graph, for steps that exceed the memory of where they are done.
        """
        self._manifest = artefact.manifest
        whole = graph or _opened(artefact, lowering, threads=threads)
        self._graph = _Sparing(whole, gradient, manifest=artefact.manifest)
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
            TrainingError: If a loss or a gradient is not finite, or the graphs are killed however
                they are run.
        """
        from edge_agent.gradients import measure  # only a pilot needs it in memory

        return measure(
            task,
            examples,
            manifest=self._manifest,
            augmentation=self._augmentation,
            graph=self._graph,
            cancelled=cancelled,
        )


def _opened(artefact: Artefact, lowering: str, *, threads: int) -> OneByOne:
    session = artefact.train_session(lowering, threads=threads)
    outputs = artefact.manifest.optimiser.outputs
    # The session copies w in and out, microseconds in a step of milliseconds. A buffer bound
    # as input and output at once would be overwritten before backward has read it.
    return OneByOne(lambda feed: dict(zip(outputs, session.run(outputs, feed), strict=True)))


class _Sparing:
    """A training graph that makes do with less memory once it was killed for want of it."""

    def __init__(
        self, whole: ChainedGraph, gradient: OpenGraph | None, *, manifest: ArtefactManifest
    ) -> None:
        self._graph = whole
        self._manifest = manifest
        self._parts = None
        if gradient is not None:
            self._parts = OneByOne(partial(accumulated_step, gradient))

    @property
    def stretch(self) -> int:
        return self._graph.stretch

    def chain(
        self,
        output_names: Sequence[str],
        shared: Arrays,
        each: Sequence[Arrays],
        carried: Mapping[str, str],
    ) -> Arrays:
        try:
            return self._graph.chain(output_names, shared, each, carried)
        except OutOfMemory as error:
            self._make_do(error)
        return self._graph.chain(output_names, shared, each[:1], carried)

    def _make_do(self, error: OutOfMemory) -> None:
        """Do with less memory from now on; without a gradient graph, hope for more.

        Raises:
            OutOfMemory: If parts of a batch are too much already.
        """
        if self._graph is self._parts:
            raise error
        by_parts = self._parts is not None
        self._graph = self._parts or self._graph
        event = "training by parts of a batch" if by_parts else "training once more"
        rows = self._manifest.microbatch if by_parts else self._manifest.batch
        log.warning(event, extra={"rows": rows, "reason": str(error)})
