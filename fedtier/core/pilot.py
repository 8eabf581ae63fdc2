"""The first rounds of a run, in which it is measured: their plans, and when to ask for gradients.

The rounds have tau_1 local steps and no repetition, at a constant step size. The first is like any
other, and tells how long things take. Before each of the others and after the last the cloud asks
for gradients at its model. In the second, the fourth and so on nothing is quantized: after those
the model is exactly the mean of the devices' end points, so what the gradients say of them is not
mixed with a quantizer's error. The others show what the quantizers do.
"""

from __future__ import annotations

from dataclasses import replace

from fedtier.wire.plan import IDENTITY, Plan


def plan_of_round(plan: Plan, round_: int) -> Plan:
    """The plan that the heads of a round carry: the run's own once the pilot is over."""
    if round_ >= plan.pilot:
        return plan
    codecs = (IDENTITY,) * plan.tiers if keeps_end(plan, round_) else plan.codecs
    return replace(
        plan,
        tau=(plan.tau[0], *(1 for _ in plan.tau[1:])),
        codecs=codecs,
        schedule="constant",
        factor=1.0,
        milestones=(),
        carry="none",
    )


def asks_gradient(plan: Plan, round_: int) -> bool:
    """Whether gradients are asked for before a round opens."""
    return 0 < round_ <= plan.pilot


def keeps_end(plan: Plan, round_: int) -> bool:
    """Whether devices keep where their steps ended, for the gradients that are asked for next."""
    return round_ < plan.pilot and round_ % 2 == 1
