"""What a planner assumes of losses and gradients where there was no time to measure them.

Numbers are those of nets that learn well at the file's step size: steps of that size are about as
long as curvature allows, and the loss has fallen by an eighth after three of them. Where links are
slow a plan hangs on them little: what is left to choose is how seldom to send.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fedtier.planner.estimates import Estimates, LinkEstimate, PilotRound
from fedtier.planner.forecast import POWER

L_MU = 1.0
STEPS = 10.0  # x_0 in steps of size mu: see ``Forecast.scale``


def typical_estimates(
    *,
    dimension: int,
    step_s: Mapping[str, float],
    link: Sequence[LinkEstimate],
    loss: float,
    least: float,
    tau: tuple[int, ...],
    mu: float,
) -> Estimates:
    """Estimates of a federation of which times alone are known.

    Args:
        dimension: d.
        step_s: Seconds of a local step, by device.
        link: Link 1 first.
        loss: The mean training loss at the start, in nats.
        least: What is known of the least there is, below it.
        tau: Of the round in which times were measured.
        mu: The step size.
    """
    steps = math.prod(tau)
    gap = loss - least
    gradient2 = POWER[0] * gap / (STEPS * mu)
    return Estimates(
        dimension=dimension,
        step_s=dict(step_s),
        link=tuple(link),
        gap=gap,
        sigma2=0.0,
        zeta2=(gradient2 / len(tau),) * len(tau),
        L=L_MU / mu,
        Lh=L_MU / mu,
        Lv=L_MU / mu,
        progress=(
            PilotRound(
                tau=tau,
                mu=mu,
                loss_before=loss,
                loss_after=least + gap * (1 + steps / STEPS) ** -POWER[0],
            ),
        ),
    )
