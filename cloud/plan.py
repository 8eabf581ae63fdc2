"""From what a federation file asks for to the plan that travels in heads."""

from __future__ import annotations

from fedtier.config.federation import Federation
from fedtier.wire.messages import CodecSpec, Plan


def plan_of(federation: Federation, *, rounds: int | None = None, seed: int | None = None) -> Plan:
    """The plan of a run.

    Args:
        federation: As loaded, with its defaults.
        rounds: In place of the file's.
        seed: In place of the file's.
    """
    wanted = federation.plan
    return Plan(
        seed=wanted.seed if seed is None else seed,
        rounds=wanted.rounds if rounds is None else rounds,
        tau=wanted.tau,
        codecs=tuple(
            CodecSpec(name=link.codec, parameters=tuple(sorted(link.parameters.items())))
            for link in federation.links
        ),
        schedule=wanted.schedule.kind,
        mu=wanted.schedule.mu,
        floor=wanted.schedule.floor,
        quorum=tuple(str(quorum) for quorum in wanted.quorum),
        deadline_s=wanted.deadline_s,
        give_up_s=wanted.give_up_s,
        beacon_s=wanted.beacon_s,
        range_bits=wanted.range_bits,
    )
