"""What a model is trained to make small, and so what its targets are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fedtier.errors import ConfigError

LossKind = Literal["cross_entropy", "mse", "bce"]

LOSS_KINDS: tuple[LossKind, ...] = get_args(LossKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Which loss, a mean over the batch; fixed when the graph is compiled.

    - ``cross_entropy``: the target is the number of a class, int64; in nats;
    - ``mse``: the mean squared difference from targets of the output's shape, float32;
    - ``bce``: the mean binary cross entropy of logits and targets in [0, 1] of the output's shape,
      float32; in nats.

    Raises:
        ConfigError: If there is no such loss, or it has no smoothing in that range.
    """

    kind: LossKind
    smoothing: float = 0.0  # of a class's target over all classes, in [0, 1); cross_entropy alone

    def __post_init__(self) -> None:
        if self.kind not in LOSS_KINDS:
            raise ConfigError(f"loss {self.kind!r} is unknown. Use one of {', '.join(LOSS_KINDS)}.")
        if not 0.0 <= self.smoothing < 1.0:
            raise ConfigError(f"smoothing = {self.smoothing!r} is outside [0, 1). Try 0.1.")
        if self.smoothing and not self.of_classes:
            raise ConfigError(
                f"smoothing = {self.smoothing!r} is of cross_entropy, the loss is {self.kind}. "
                "Leave it out."
            )

    @property
    def of_classes(self) -> bool:
        """Whether a target is the number of a class; else it is as many numbers as the output."""
        return self.kind == "cross_entropy"

    @property
    def judged(self) -> bool:
        """Whether an answer is right or wrong, so that there is an accuracy."""
        return self.kind != "mse"

    @property
    def target_dtype(self) -> Literal["int64", "float32"]:
        """The type of targets."""
        return "int64" if self.of_classes else "float32"

    def least(self, classes: int) -> float:
        """The least mean loss that any model can have on the training targets, in its unit.

        Of smoothed targets it is their entropy, (1 - s + s/C) of the class and s/C of each other.

        Args:
            classes: C, how many there are.
        """
        if not self.smoothing:
            return 0.0
        other = self.smoothing / classes
        own = 1 - self.smoothing + other
        return -own * math.log(own) - (classes - 1) * other * math.log(other)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {"kind": self.kind, "smoothing": self.smoothing}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Loss:
        """Read it from a manifest.

        Raises:
            KeyError, TypeError, ValueError, ConfigError: If it is not what ``to_json`` writes.
        """
        return cls(kind=data["kind"], smoothing=float(data["smoothing"]))
