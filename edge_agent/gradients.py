"""Gradients at given models, from the training graph of any artefact: what a pilot asks for.

The graph gives no gradient but a step. Momentum that begins at zero leaves the gradient itself;
without momentum it is ``(w - w_next) / mu``, and with a step size of 2^20 the model is too small
beside the step for its digits to matter: the quotient is the gradient to float32 rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

import numpy as np
import numpy.typing as npt

from edge_agent.train_steps import Arrays, ChainedGraph, feeds
from fedtier.artefact.inputs import check_examples
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.sample_feed import vectors_at_rest
from fedtier.artefact.trainer import Gradients, GradientTask
from fedtier.data.augmentation import Augmentation
from fedtier.data.examples import Examples
from fedtier.errors import TrainingError
from fedtier.ids import IterationPath
from fedtier.limits import GRADIENT_BATCHES_MAX
from fedtier.model.layout import Vector

_MU = np.asarray(2.0**20, np.float32)  # a power of two: a product with it is exact
_PATH = IterationPath((2**32 - 1,))
"""The address of the draws: of no round, so that every model is judged on the same examples."""

_BLOCK = 2**15

_Doubles = npt.NDArray[np.float64]


def batches_of(examples: Examples, manifest: ArtefactManifest) -> int:
    """How many batches are measured at each model."""
    return max(2, min(GRADIENT_BATCHES_MAX, len(examples) // manifest.batch))


def measure(
    task: GradientTask,
    examples: Examples,
    *,
    manifest: ArtefactManifest,
    augmentation: Augmentation,
    graph: ChainedGraph,
    cancelled: Callable[[], bool],
) -> Gradients | None:
    """Measure; see ``fedtier.artefact.trainer.Trainer.gradients``.

    Raises:
        ConfigError: If the examples do not suit the artefact.
        TrainingError: If a loss or a gradient is not finite.
    """
    check_examples(examples, manifest, where=f"task of {task.node}")
    batches = batches_of(examples, manifest)
    found: list[_Running] = []
    for model in task.models:
        running = _Running(manifest.parameters)
        drawn = feeds(
            examples, manifest=manifest, augmentation=augmentation, seed=task.seed, path=_PATH,
            node=task.node,
        )  # fmt: skip
        for feed in islice(drawn, batches):
            if cancelled():
                return None
            running.add(*_gradient(model, feed, manifest=manifest, graph=graph))
        if not running.finite:
            raise TrainingError(
                f"{task.node}: a loss or a gradient is not finite. Use a smaller mu, or look for "
                "bad values in the data."
            )
        found.append(running)
    return Gradients(
        losses=tuple(its.loss for its in found),
        means=tuple(_padded(its.mean, manifest.dimension) for its in found),
        variances=tuple(its.variance for its in found),
        batches=batches,
    )


def _gradient(
    model: Vector, feed: Arrays, *, manifest: ArtefactManifest, graph: ChainedGraph
) -> tuple[float, Vector]:
    """The mean loss of one batch and its gradient, shape ``(p,)``."""
    state = {"w": model, "mu": _MU, **vectors_at_rest(manifest, model)}
    found = graph.chain(manifest.optimiser.outputs, state, [feed], {})
    loss = float(found["loss"][0])
    if manifest.optimiser.momentum:
        return loss, found["velocity_next"][0]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        step = model[: manifest.parameters] - found["w_next"][0][: manifest.parameters]
    return loss, step / _MU


class _Running:
    """Mean and sample variance of what comes one by one (Welford, Technometrics 4(3), 1962)."""

    def __init__(self, parameters: int) -> None:
        self._count = 0
        self._loss = 0.0
        self.mean: _Doubles = np.zeros(parameters)
        self._squares = 0.0

    def add(self, loss: float, gradient: Vector) -> None:
        self._count += 1
        self._loss += loss
        for first in range(0, gradient.size, _BLOCK):  # no temporary vectors of the model's size
            part, mean = gradient[first : first + _BLOCK], self.mean[first : first + _BLOCK]
            before = part - mean
            mean += before / self._count
            self._squares += float(np.sum(before * (part - mean)))

    @property
    def finite(self) -> bool:
        return math.isfinite(self._loss) and math.isfinite(self._squares)

    @property
    def loss(self) -> float:
        return self._loss / self._count

    @property
    def variance(self) -> float:
        """Of one batch, summed over the coordinates."""
        return max(0.0, self._squares) / (self._count - 1)


def _padded(gradient: _Doubles, dimension: int) -> Vector:
    """With zeros for running statistics, which no gradient moves."""
    whole = np.zeros(dimension, np.float32)
    whole[: gradient.size] = gradient
    return whole
