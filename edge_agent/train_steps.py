"""What every trainer does to a task besides computing: draw batches, check what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fedtier.artefact.inputs import check_examples
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.masks import draw_masks
from fedtier.artefact.trainer import Trained, TrainTask
from fedtier.data.augmentation import Augmentation, step_keys
from fedtier.data.batches import batch_indices
from fedtier.data.examples import Examples
from fedtier.errors import ConfigError, TrainingError
from fedtier.ids import IterationPath, NodeId
from fedtier.model.layout import Vector

Arrays = Mapping[str, npt.NDArray[Any]]
Step = Callable[[Arrays], Arrays]
"""From the inputs of a training graph, by name, to its outputs, by name."""


class ChainedGraph(Protocol):
    """An open training graph that can run some times in turn."""

    @property
    def stretch(self) -> int:
        """How many steps are best asked for together, >= 1; work can be given up in between."""
        ...

    def chain(
        self,
        output_names: Sequence[str],
        shared: Arrays,
        each: Sequence[Arrays],
        carried: Mapping[str, str],
    ) -> Arrays:
        """Run it.

        Args:
            output_names: Which outputs.
            shared: Inputs that are the same every time.
            each: The other inputs, of every time.
            carried: Outputs that are an input the next time: output -> input.

        Returns:
            Of a carried output the last, of others all, shape ``(times, ...)``. It may stop after
            any time but before the first: ``times`` tells.
        """
        ...


class OneByOne:
    """Makes a chain of a step that is computed in this process; see ``ChainedGraph``."""

    stretch = 1  # nothing is gained by more

    def __init__(self, step: Step) -> None:
        self._step = step

    def chain(
        self,
        output_names: Sequence[str],
        shared: Arrays,
        each: Sequence[Arrays],
        carried: Mapping[str, str],
    ) -> Arrays:
        """As ``ChainedGraph.chain``."""
        state = dict(shared)
        found: list[Arrays] = []
        for feed in each:
            found.append(self._step({**state, **feed}))
            state |= {taken: found[-1][name] for name, taken in carried.items()}
        return {
            name: found[-1][name] if name in carried else np.stack([each[name] for each in found])
            for name in output_names
        }


def run_steps(
    task: TrainTask,
    examples: Examples,
    *,
    manifest: ArtefactManifest,
    augmentation: Augmentation,
    graph: ChainedGraph,
    cancelled: Callable[[], bool],
) -> Trained | None:
    """Run a task's steps; see ``fedtier.artefact.trainer.Trainer``.

    Args:
        task: Where to start and what is drawn.
        examples: The device's training examples.
        manifest: Of the artefact that is trained.
        augmentation: Its random changes.
        graph: Computes the steps.
        cancelled: Asked before every stretch of steps.

    Raises:
        ConfigError: If the examples or the task do not suit the artefact.
        TrainingError: If the loss or the model is not finite.
    """
    check_examples(examples, manifest, where=f"task {task.path}")
    outputs = manifest.optimiser.outputs
    carried = {name: name.removesuffix("_next") for name in outputs if name.endswith("_next")}
    state = {"w": task.model, **_starting_state(task, manifest)}
    coming = _stepping(task, examples, manifest=manifest, augmentation=augmentation)
    ahead: list[Arrays] = []
    losses: list[float] = []
    while len(losses) < task.steps:
        if cancelled():
            return None
        ahead += islice(coming, max(0, graph.stretch - len(ahead)))
        found = graph.chain(outputs, state, ahead[: graph.stretch], carried)
        state |= {taken: found[name] for name, taken in carried.items()}
        losses += [float(loss) for loss in found["loss"]]
        del ahead[: len(found["loss"])]
        _check_finite(losses, state["w"], task=task)
    return Trained(
        model=state["w"],
        loss_sum=sum(losses),
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


def _stepping(
    task: TrainTask, examples: Examples, *, manifest: ArtefactManifest, augmentation: Augmentation
) -> Iterator[Arrays]:
    """What every step of a task takes besides the state."""
    coming = feeds(
        examples, manifest=manifest, augmentation=augmentation, seed=task.seed, path=task.path,
        node=task.node,
    )  # fmt: skip
    for step, feed in enumerate(islice(coming, task.steps)):
        mu = task.schedule.mu_at(task.first_step + step, task.round_steps)
        yield {**feed, "mu": np.asarray(mu, np.float32)}


def feeds(
    examples: Examples,
    *,
    manifest: ArtefactManifest,
    augmentation: Augmentation,
    seed: int,
    path: IterationPath,
    node: NodeId,
) -> Iterator[Arrays]:
    """Batches and masks, without end; every draw is addressed, none is in sequence.

    Args:
        examples: The device's training examples.
        manifest: Of the artefact.
        augmentation: Its random changes.
        seed: With ``path`` and ``node`` the address of the draws.
        path: See ``seed``.
        node: See ``seed``.

    Yields:
        ``x``, ``y`` and the manifest's masks, as the training graph takes them.
    """
    chosen = batch_indices(len(examples), batch=manifest.batch, seed=seed, path=path, node=node)
    for step, rows in enumerate(chosen):
        keys = step_keys(seed=seed, path=path, node=node, step=step)
        yield {
            "x": augmentation.apply(examples.x[rows], keys),
            "y": examples.y[rows],
            **draw_masks(manifest.masks, seed=seed, path=path, node=node, step=step),
        }


def _check_finite(losses: Sequence[float], model: Vector, *, task: TrainTask) -> None:
    """Stop where a loss so far or the model is not finite.

    Raises:
        TrainingError: Naming node, path, step and step size.
    """
    bad = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if bad is None and bool(np.isfinite(model).all()):
        return
    what, step = ("model", len(losses) - 1) if bad is None else ("loss", bad)
    mu = task.schedule.mu_at(task.first_step + step, task.round_steps)
    raise TrainingError(
        f"{task.node} {task.path}: the {what} is not finite after local step {step + 1} of "
        f"{task.steps} at step size {mu:.3g}. Use a smaller mu, or look for bad values in the data."
    )
