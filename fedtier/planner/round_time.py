"""How long a round takes on a tree whose devices and links differ, and how many fit a deadline.

Source: ``docs/theory.md``, the time model. A parent waits for the slowest of its children, so
``T_v = max over children c of (tau_n T_c + comm_c)``, with a device's time for one local step at
the bottom. Where all nodes of a tier are alike this is ``S_N (t_comp + sum_n t_comm_n / S_n)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of a tree whose devices are all N links below the cloud.

    Attributes:
        parents: As in ``TreeConstants.of``.
        step_s: One local step on each device.
        message_s: For each tier from the devices' up, what every node on it needs to hand one
            update to its parent and to get the next model back.
    """

    parents: Sequence[Sequence[int]]
    step_s: Sequence[float]
    message_s: Sequence[Sequence[float]]

    @classmethod
    def alike(cls, *, step_s: float, message_s: Sequence[float]) -> Times:
        """Of nodes that are alike on each tier, which take as long as one chain of them."""
        return cls(
            parents=[[0] for _ in message_s],
            step_s=[step_s],
            message_s=[[seconds] for seconds in message_s],
        )

    def round_s(self, tau: Sequence[float | Numbers]) -> Numbers:
        """Seconds of a whole round.

        Args:
            tau: tau_1..tau_N, each a number or an array, one for each plan.

        Returns:
            Of the shape that tau broadcasts to.
        """
        (whole,) = self.tiers_s(tau)[-1]
        return whole

    def tiers_s(self, tau: Sequence[float | Numbers]) -> list[list[Numbers]]:
        """Seconds of one iteration of every node of every tier, from the devices' local step up."""
        tiers = [[np.asarray(seconds, np.float64) for seconds in self.step_s]]
        for above, repeats, messages in zip(self.parents, tau, self.message_s, strict=True):
            times: list[Numbers | None] = [None] * (max(above) + 1)
            for child, (parent, seconds) in enumerate(zip(above, messages, strict=True)):
                found = np.asarray(repeats) * tiers[-1][child] + seconds
                so_far = times[parent]
                times[parent] = found if so_far is None else np.maximum(so_far, found)
            tiers.append([time for time in times if time is not None])
        return tiers

    def iteration_s(self, tau: Sequence[float | Numbers]) -> Numbers:
        """Seconds of one iteration of the slowest node of a tier.

        Args:
            tau: tau_1..tau_n of the tiers below it; none: the devices' local step.
        """
        n = len(tau)
        part = Times(parents=self.parents[:n], step_s=self.step_s, message_s=self.message_s[:n])
        slowest: Numbers = np.max(np.stack(np.broadcast_arrays(*part.tiers_s(tau)[-1])), axis=0)
        return slowest

    def rest_s(self, tier: int) -> float:
        """Seconds that one message on each link above a tier takes at least."""
        return sum(min(seconds) for seconds in self.message_s[tier:])
