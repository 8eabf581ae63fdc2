"""What every trainer does to a task besides computing: draw batches, check what comes out."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fedtier.artefact.trainer import TrainTask
from fedtier.data.augmentation import Augmentation, step_keys
from fedtier.data.batches import batch_indices
from fedtier.data.examples import Examples, Inputs
from fedtier.errors import TrainingError
from fedtier.model.layout import Vector

Batch = tuple[Inputs, npt.NDArray[np.int64]]


def augmented_batches(
    task: TrainTask, examples: Examples, *, batch: int, augmentation: Augmentation
) -> Iterator[Batch]:
    """The batches of a task's steps, in order; every draw is addressed, none is in sequence.

    Args:
        task: Seed, path and node of the draws.
        examples: The device's training examples, at least one.
        batch: Rows of a batch.
        augmentation: Random changes, addressed by the step within the iteration.

    Yields:
        Inputs ``(batch, ...)`` and labels ``(batch,)``.
    """
    chosen = batch_indices(
        len(examples), batch=batch, seed=task.seed, path=task.path, node=task.node
    )
    for step, rows in enumerate(chosen):
        keys = step_keys(seed=task.seed, path=task.path, node=task.node, step=step)
        yield augmentation.apply(examples.x[rows], keys), examples.y[rows]


def check_finite(loss: float, model: Vector, *, task: TrainTask, step: int) -> None:
    """Stop at the first step whose loss or model is not finite.

    Raises:
        TrainingError: Naming node, path, step and step size.
    """
    if math.isfinite(loss) and bool(np.isfinite(model).all()):
        return
    mu = task.schedule.mu_at(task.first_step + step, task.round_steps)
    what = "model" if math.isfinite(loss) else "loss"
    raise TrainingError(
        f"{task.node} {task.path}: the {what} is not finite after local step {step + 1} of "
        f"{task.steps} at step size {mu:.3g}. Use a smaller mu, or look for bad values in the data."
    )
