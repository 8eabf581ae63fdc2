"""What a trainer is: a pure function from a model and a task to the model some steps later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fedtier.artefact.schedule import Schedule
from fedtier.data.examples import Examples
from fedtier.ids import IterationPath, NodeId
from fedtier.model.layout import Vector


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainTask:
    """The local steps of one iteration: all that a trainer may depend on besides its examples.

    Of the model's ``d`` numbers the first ``p`` are parameters, as the artefact's manifest says.
    """

    model: Vector  # where to start, shape (d,), finite; never written to
    seed: int  # the plan's 64 bits; every draw is addressed by it, the path, the node and a purpose
    path: IterationPath
    node: NodeId
    steps: int  # local steps of this iteration, >= 1
    first_step: int  # local steps of the round done before this iteration, >= 0
    round_steps: int  # local steps of a whole round, >= first_step + steps
    schedule: Schedule
    velocity: Vector | None = None  # of the optimiser's momentum, shape (p,); None is zero
    correction: Vector | None = None  # added to every gradient, shape (p,); None is zero

    def __post_init__(self) -> None:
        assert self.steps >= 1, self.steps
        assert self.first_step >= 0, self.first_step
        assert self.first_step + self.steps <= self.round_steps, (self.first_step, self.round_steps)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """What came of a task."""

    model: Vector  # shape (d,), finite
    loss_sum: float  # sum over the steps of the training loss, nats; each step's is a batch mean
    examples_seen: int  # steps times batch; an example seen twice counts twice
    steps: int
    velocity: Vector | None = (
        None  # shape (p,), after the last step; None where there is no momentum
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GradientTask:
    """At which models to measure the gradient of the training loss, on the same examples at each.

    The first ``p`` of a model's ``d`` numbers are parameters, as the artefact's manifest says.
    """

    models: tuple[Vector, ...]  # each of shape (d,), finite; never written to
    seed: int  # the plan's 64 bits; with the node the address of the draws, whatever the round
    node: NodeId


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gradients:
    """What was measured at each of the models of a task, over some batches."""

    losses: tuple[float, ...]  # the mean loss, nats
    means: tuple[Vector, ...]  # the mean gradient, shape (d,); 0 where there are no parameters
    # Of the gradient of one batch, summed over its coordinates: of |g_batch - mean|^2 the sum over
    # the batches, divided by one less than their number.
    variances: tuple[float, ...]
    batches: int  # >= 2


class Trainer(Protocol):
    """Runs local steps; holds compiled graphs or a module, but no state of the training itself."""

    def train(
        self, task: TrainTask, examples: Examples, *, cancelled: Callable[[], bool]
    ) -> Trained | None:
        """Run the task's steps.

        Args:
            task: The starting model and everything random or scheduled about the steps.
            examples: The device's preprocessed training examples, at least one.
            cancelled: Asked before every stretch of steps, of some tenths of a second; true ends
                the work.

        Returns:
            The result, or ``None`` when cancelled.

        Raises:
            ConfigError: If the artefact's optimiser does not take what the task gives.
            TrainingError: If the loss or the model is not finite.
        """
        ...

    def gradients(
        self, task: GradientTask, examples: Examples, *, cancelled: Callable[[], bool]
    ) -> Gradients | None:
        """Measure the gradient of what a step descends on.

        That is the mean loss over the examples, with augmentation and masks as in training, and
        with weight decay ``|w|^2 weight_decay / 2``. Each batch of one shuffle of the examples is
        taken once, at most 64 batches; of fewer than two, two shuffles' first.

        Args:
            task: At which models.
            examples: The device's preprocessed training examples, at least one.
            cancelled: Asked before every batch; true ends the work.

        Returns:
            The result, or ``None`` when cancelled.

        Raises:
            TrainingError: If a loss or a gradient is not finite.
        """
        ...
