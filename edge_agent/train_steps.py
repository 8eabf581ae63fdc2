"""What every trainer does to a task besides computing: draw batches, check what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fedtier.artefact.inputs import check_examples
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.masks import draw_masks
from fedtier.artefact.trainer import Trained, TrainTask
from fedtier.data.augmentation import Augmentation, step_keys
from fedtier.data.batches import batch_indices
from fedtier.data.examples import Examples, Inputs, Targets
from fedtier.errors import ConfigError, TrainingError
from fedtier.model.layout import Vector

Arrays = Mapping[str, npt.NDArray[Any]]
Step = Callable[[Arrays], Arrays]
"""From the inputs of a training graph, by name, to its outputs, by name."""

Batch = tuple[Inputs, Targets]


def run_steps(
    task: TrainTask,
    examples: Examples,
    *,
    manifest: ArtefactManifest,
    augmentation: Augmentation,
    step: Step,
    cancelled: Callable[[], bool],
) -> Trained | None:
    """Run a task's steps; see ``fedtier.artefact.trainer.Trainer``.

    Args:
        task: Where to start and what is drawn.
        examples: The device's training examples.
        manifest: Of the artefact that is trained.
        augmentation: Its random changes.
        step: Computes one step.
        cancelled: Asked before every step.

    Raises:
        ConfigError: If the examples or the task do not suit the artefact.
        TrainingError: If the loss or the model is not finite.
    """
    check_examples(examples, manifest, where=f"task {task.path}")
    state = _starting_state(task, manifest)
    batches = _augmented_batches(task, examples, batch=manifest.batch, augmentation=augmentation)
    w, loss_sum = task.model, 0.0
    for number in range(task.steps):
        if cancelled():
            return None
        x, y = next(batches)
        mu = task.schedule.mu_at(task.first_step + number, task.round_steps)
        masks = draw_masks(
            manifest.masks, seed=task.seed, path=task.path, node=task.node, step=number
        )
        feed = {"w": w, "x": x, "y": y, "mu": np.asarray(mu, np.float32)}
        found = step({**feed, **masks, **state})
        w, loss = found["w_next"], float(found["loss"])
        if "velocity" in state:
            state["velocity"] = found["velocity_next"]
        _check_finite(loss, w, task=task, step=number)
        loss_sum += loss
    return Trained(
        model=w,
        loss_sum=loss_sum,
        examples_seen=task.steps * manifest.batch,
        steps=task.steps,
        velocity=state.get("velocity"),
    )


def _starting_state(task: TrainTask, manifest: ArtefactManifest) -> dict[str, Vector]:
    """The optimiser's vectors before the first step: what the task gives, else zero."""
    given = {"velocity": task.velocity, "correction": task.correction}
    taken = manifest.optimiser.inputs
    foreign = [name for name, vector in given.items() if vector is not None and name not in taken]
    if foreign:
        raise ConfigError(
            f"{task.node} {task.path}: the task gives a {foreign[0]}, which the artefact "
            f"{manifest.name} does not take. Compile it with "
            f"{'momentum' if foreign[0] == 'velocity' else 'correction'}."
        )
    anchor = task.model[: manifest.parameters]
    state = {"anchor": anchor, **{name: v for name, v in given.items() if v is not None}}
    return {name: state.get(name, np.zeros(manifest.parameters, np.float32)) for name in taken}


def _augmented_batches(
    task: TrainTask, examples: Examples, *, batch: int, augmentation: Augmentation
) -> Iterator[Batch]:
    """The batches of a task's steps, in order; every draw is addressed, none is in sequence."""
    chosen = batch_indices(
        len(examples), batch=batch, seed=task.seed, path=task.path, node=task.node
    )
    for step, rows in enumerate(chosen):
        keys = step_keys(seed=task.seed, path=task.path, node=task.node, step=step)
        yield augmentation.apply(examples.x[rows], keys), examples.y[rows]


def _check_finite(loss: float, model: Vector, *, task: TrainTask, step: int) -> None:
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
