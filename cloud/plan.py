"""From what a federation file asks for to the plan that travels in heads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fedtier.config.federation import Federation
from fedtier.config.federation_rules import quorum_text
from fedtier.config.federation_tables import AutoTable, ScheduleTable
from fedtier.errors import ConfigError, WireError
from fedtier.wire.fields import Fields
from fedtier.wire.plan import CodecSpec, Plan


def plan_of(
    federation: Federation,
    *,
    rounds: int | None = None,
    seed: int | None = None,
    pilot: int | None = None,
) -> Plan:
    """The plan of a run.

    Args:
        federation: As loaded, with its defaults.
        rounds: In place of the file's.
        seed: In place of the file's.
        pilot: Rounds at the beginning in which the run is measured; None for none.

    Raises:
        ConfigError: If nodes would not take it from a head, or the pilot cannot be as asked.
    """
    wanted = federation.plan
    plan = Plan(
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
        **_steps(wanted.schedule),
        quorum=tuple(quorum_text(quorum) for quorum in wanted.quorum),
        deadline_s=wanted.deadline_s,
        give_up_s=wanted.give_up_s,
        beacon_s=wanted.beacon_s,
        range_bits=wanted.range_bits,
        carry=wanted.carry,
        lowering=wanted.lowering,
        pilot=_pilot(wanted.auto, pilot, where=federation.where),
    )
    if plan.pilot > plan.rounds:
        raise ConfigError(
            f"{federation.where}: a pilot of {plan.pilot} rounds does not fit into the "
            f"{plan.rounds} of the run, whose first rounds it is. "
            f"{'Lower --pilot' if wanted.auto is None else 'Lower pilot_rounds of [plan.auto]'}, "
            "or ask for more rounds."
        )
    try:
        Plan.from_fields(Fields(plan.to_json(), what="plan"))
    except WireError as error:  # now, and not as silence from nodes that drop every head
        raise ConfigError(
            f"{federation.where}: no node would take this plan: {error}. Correct [plan]."
        ) from error
    return plan


def _pilot(auto: AutoTable | None, asked: int | None, *, where: str) -> int:
    if auto is None:
        return asked or 0
    if asked is not None:
        raise ConfigError(
            f'{where}: --pilot {asked} is for a tau that is given, and tau = "auto" has a pilot of '
            "its own. Leave the option out, or change pilot_rounds of [plan.auto]."
        )
    return auto.pilot_rounds if auto.estimates is None else 0


def _steps(schedule: ScheduleTable) -> dict[str, Any]:
    if schedule.kind != "step":
        return {}  # a plan has no others: no node would be told of them
    return {"factor": schedule.factor, "milestones": schedule.milestones}


def differences(before: str, now: Plan) -> list[str]:
    """The keys in which two plans differ, each with both values.

    Args:
        before: The plan of an unfinished run, as its snapshot has it.
        now: The plan that is asked for.
    """
    old, new = json.loads(before), now.to_json()
    return [
        f"{key} = {_shown(old, key)} (now {_shown(new, key)})"
        for key in dict.fromkeys([*new, *old])
        if old.get(key) != new.get(key)
    ]


def _shown(plan: Mapping[str, object], key: str) -> str:
    return json.dumps(plan[key]) if key in plan else "absent"
