"""What a parent does with the mean of its children's deltas."""

from __future__ import annotations

from typing import Protocol

from fedtier.model.layout import Vector


class ServerStep(Protocol):
    """Make the next model; pure, so that a replay gives the same bits."""

    def __call__(self, model: Vector, mean: Vector) -> Vector:
        """Step.

        Args:
            model: The parent's model before the iteration, float32 ``(d,)``; left as it is.
            mean: The weighted mean of the deltas, float32 ``(d,)``.

        Returns:
            The model after the iteration, a new float32 ``(d,)``.
        """
        ...


def add(model: Vector, mean: Vector) -> Vector:
    """Add the mean, rounding once per coordinate: federated averaging, and the default."""
    return model + mean
