"""Why a node cannot do what a head asks, whatever its data."""

from __future__ import annotations

import math

from fedtier.errors import ConfigError
from fedtier.limits import MU_END
from fedtier.quantize.registry import make_codec
from fedtier.wire.head import Head
from fedtier.wire.plan import CodecSpec


def refusal(head: Head, *, tier: int) -> str | None:
    """Say why a node on this tier must abstain, or None where it can begin.

    What passes here raises nothing later: the codecs of the node's own links can be made, every
    local step has a step size, and the iteration lies within its round.
    """
    if head.tier <= tier:
        return f"a parent on tier {head.tier} asks a child on tier {tier}"
    if head.task == "train":
        reason = _untrainable(head)
        if reason is not None:
            return reason
    own_links = {head.tier, tier} - {0}
    reasons = (_unknown(head.plan.codecs[link - 1]) for link in sorted(own_links))
    return next((reason for reason in reasons if reason is not None), None)


def _untrainable(head: Head) -> str | None:
    plan = head.plan
    if not 0 < plan.mu < MU_END:
        return f"mu = {plan.mu} is outside (0, {MU_END:g})"
    if not 0 <= head.p0 <= head.p1 <= 1:
        return f"p0 = {head.p0}, p1 = {head.p1} do not satisfy 0 <= p0 <= p1 <= 1"
    steps, round_steps = math.prod(plan.tau[: head.tier]), math.prod(plan.tau)
    if not 0 <= head.first_step <= round_steps - steps:
        return (
            f"{steps} steps from step {head.first_step} on go beyond the {round_steps} of the round"
        )
    return None


def _unknown(codec: CodecSpec) -> str | None:
    try:
        make_codec(codec.name, dict(codec.parameters), where="plan")
    except ConfigError as error:
        return str(error)
    return None
