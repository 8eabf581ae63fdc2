"""Why a node cannot do what a head asks, whatever its data."""

from __future__ import annotations

from fedtier.errors import ConfigError
from fedtier.quantize.registry import make_codec
from fedtier.wire.messages import CodecSpec, Head


def refusal(head: Head, *, tier: int) -> str | None:
    """Say why a node on this tier must abstain, or None where it can begin.

    What passes here raises nothing later: the codecs of the node's own links can be made.
    """
    if head.tier <= tier:
        return f"a parent on tier {head.tier} asks a child on tier {tier}"
    if head.task == "gradient":
        return "task 'gradient' is not known to this version"
    own_links = {head.tier, tier} - {0}
    reasons = (_unknown(head.plan.codecs[link - 1]) for link in sorted(own_links))
    return next((reason for reason in reasons if reason is not None), None)


def _unknown(codec: CodecSpec) -> str | None:
    try:
        make_codec(codec.name, dict(codec.parameters), where="plan")
    except ConfigError as error:
        return str(error)
    return None
