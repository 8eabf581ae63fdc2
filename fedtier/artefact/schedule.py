"""The step size of every local step, as a pure function of where in the run it is."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, assert_never, get_args

import numpy as np

from fedtier.errors import ConfigError

ScheduleKind = Literal["constant", "cosine", "step"]

SCHEDULE_KINDS: tuple[ScheduleKind, ...] = get_args(ScheduleKind)
FLOOR_DEFAULT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How large the local steps of one round are.

    The cloud puts ``p0`` and ``p1`` into each round's head, so a schedule spans rounds while a
    device needs to know nothing but the round it is in.

    Raises:
        ConfigError: If a number is outside the range given beside it.
    """

    kind: ScheduleKind
    mu: float  # step size at p = 0; 0 < mu < 1e6
    floor: float = FLOOR_DEFAULT  # share of mu left at p = 1, in [0, 1]; cosine only
    factor: float = 1.0  # of mu at each milestone, in (0, 1]; step only
    milestones: tuple[float, ...] = ()  # progress of the run, ascending, each in (0, 1); step only
    p0: float = 0.0  # progress of the run when the round begins, in [0, 1]
    p1: float = 1.0  # progress when it ends, in [p0, 1]

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULE_KINDS:
            raise ConfigError(
                f"schedule kind {self.kind!r} is unknown. Use one of {', '.join(SCHEDULE_KINDS)}."
            )
        if not 0.0 < self.mu < 1e6:
            raise ConfigError(f"schedule mu = {self.mu!r} is outside (0, 1e6). Try 0.1.")
        if not 0.0 <= self.floor <= 1.0:
            raise ConfigError(f"schedule floor = {self.floor!r} is outside [0, 1].")
        if not 0.0 < self.factor <= 1.0:
            raise ConfigError(f"schedule factor = {self.factor!r} is outside (0, 1].")
        bounds = (0.0, *self.milestones, 1.0)
        if not all(before < after for before, after in pairwise(bounds)):
            raise ConfigError(
                f"schedule milestones = {list(self.milestones)} are not ascending within (0, 1)."
            )
        if not 0.0 <= self.p0 <= self.p1 <= 1.0:
            raise ConfigError(
                f"schedule p0 = {self.p0!r}, p1 = {self.p1!r} do not satisfy 0 <= p0 <= p1 <= 1."
            )

    def mu_at(self, step: int, round_steps: int) -> np.float32:
        """The step size of one local step.

        Args:
            step: Local steps of this round done before it, ``0 <= step < round_steps``.
            round_steps: Local steps of a whole round, ``>= 1``.

        Returns:
            With ``p = p0 + (p1 - p0) step / round_steps``, evaluated in float64 and rounded once:

            - ``constant``: ``mu`` itself;
            - ``cosine``: ``mu (f + (1 - f) (1 + cos(pi p)) / 2)`` with the floor ``f``;
            - ``step``: ``mu factor ** k`` with ``k`` milestones that are not above ``p``.

        Notes:
            Source of the cosine: Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5.
        """
        assert 0 <= step < round_steps, (step, round_steps)
        p = self.p0 + (self.p1 - self.p0) * step / round_steps
        match self.kind:
            case "constant":
                return np.float32(self.mu)
            case "cosine":
                share = self.floor + (1.0 - self.floor) * (1.0 + math.cos(math.pi * p)) / 2.0
                return np.float32(self.mu * share)
            case "step":
                return np.float32(self.mu * self.factor ** bisect_right(self.milestones, p))
            case _:
                assert_never(self.kind)
