"""The trainers of an artefact, one for each lowering, and which of them a plan asks for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np

from edge_agent.graph_process import GraphProcess
from edge_agent.out_of_memory import OutOfMemory
from edge_agent.step_timing import step_seconds
from edge_agent.trainer_onnx import OnnxTrainer
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.sample_feed import sample_feed
from fedtier.artefact.trainer import Trainer
from fedtier.errors import ConfigError, TrainingError
from fedtier.model.layout import Vector
from fedtier.wire.plan import AUTO_LOWERING

log = logging.getLogger(__name__)

_STEPS = 20
_TIMED_S = 1.0  # of each lowering


class Trainers:
    """Trains by the lowering that a plan names; times them all once where it says ``auto``."""

    def __init__(self, artefact: Artefact, graphs: GraphProcess) -> None:
        """Prepare; nothing is timed yet.

        Args:
            artefact: Whose lowerings.
            graphs: Where its training graphs, and those for part of a batch, are run.
        """
        self._manifest = artefact.manifest
        self._graphs = graphs
        self._made: dict[str, Trainer] = {}
        self._fastest: str | None = None
        for lowering in self._manifest.lowerings:
            gradient = self._manifest.gradient_file(lowering)
            self._made[lowering] = OnnxTrainer(
                artefact,
                graph=graphs.graph(self._manifest.train_file(lowering)),
                gradient=None if gradient is None else graphs.graph(gradient),
            )

    def trainer(
        self, asked: str, model: Vector, *, cancelled: Callable[[], bool] = lambda: False
    ) -> Trainer | None:
        """The trainer of a lowering.

        Args:
            asked: As the plan has it.
            model: What is to be trained, shape ``(d,)``; lowerings are timed on it.
            cancelled: Asked before every step that is timed.

        Returns:
            None where it was cancelled.

        Raises:
            TrainingError: If the artefact has no such lowering, or none of them can be run.
        """
        if asked == AUTO_LOWERING:
            fastest = self._choose(model, cancelled)
            return None if fastest is None else self._made[fastest]
        try:
            return self._made[self._manifest.lowering_for(asked)]
        except ConfigError as error:
            raise TrainingError(str(error)) from error

    def _choose(self, model: Vector, cancelled: Callable[[], bool]) -> str | None:
        if self._fastest is None:
            taken_s = self._timed(model, cancelled) if len(self._made) > 1 else {}
            if taken_s is None:
                return None
            # All of them out of memory: the first, which does with parts of a batch if it can.
            self._fastest = min(taken_s, key=taken_s.__getitem__, default=self._manifest.lowering)
            log.info(
                "lowering chosen",
                extra={"lowering": self._fastest}
                | {f"{name}_ms": round(1e3 * s, 2) for name, s in taken_s.items()},
            )
        return self._fastest

    def _timed(self, model: Vector, cancelled: Callable[[], bool]) -> dict[str, float] | None:
        """Seconds of a step by each lowering that the memory has room for; None if cancelled."""
        feed = sample_feed(self._manifest, model, np.random.default_rng(0))
        taken_s: dict[str, float] = {}
        for lowering in self._made:
            graph = self._graphs.graph(self._manifest.train_file(lowering))
            try:
                found = step_seconds(
                    graph,
                    self._manifest.optimiser.outputs,
                    feed,
                    steps=_STEPS,
                    end_s=time.monotonic() + _TIMED_S,
                    cancelled=cancelled,
                )
            except OutOfMemory as error:
                log.warning("lowering left out", extra={"lowering": lowering, "reason": str(error)})
                continue
            if found is None:
                return None
            taken_s[lowering] = found
        return taken_s
