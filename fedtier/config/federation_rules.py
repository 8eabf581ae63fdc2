"""The rules that span several keys of a federation file, all in one place."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from fedtier.config.budget_rules import check_budget, prices_of
from fedtier.config.federation_tables import Quorum
from fedtier.config.place import Place
from fedtier.limits import (
    HEAD_BYTES_BASE,
    HEAD_BYTES_PER_MEMBER,
    PART_BYTES_MAX,
    PILOT_ROUNDS_MIN,
    STEPS_PER_ROUND_MAX,
)

if TYPE_CHECKING:
    from fedtier.config.federation import Federation

T = TypeVar("T")


def per_link(value: T | tuple[T, ...], links: int, *, name: str, place: Place) -> tuple[T, ...]:
    """One entry per link: an array must have N of them, a single value holds for every link.

    Raises:
        ConfigError: If an array has another length.
    """
    if not isinstance(value, tuple):
        return (value,) * links
    if len(value) != links:
        raise place.refuse(
            name,
            f"has {len(value)} entries, and the file has {links} [[link]] tables; there must be "
            "one entry per link, link 1 (from the devices) first.",
        )
    return value


def quorum_text(quorum: Quorum) -> str:
    """A quorum as a head carries it: a share as the decimal it was written as, no exponent."""
    return f"{Decimal(str(quorum)):f}" if isinstance(quorum, float) else str(quorum)


def check_federation(federation: Federation, *, place: Place) -> None:
    """Check what no single key can say.

    Raises:
        ConfigError: For more steps than can be counted, milestones without steps or steps without
            milestones, a quorum larger than a cell, deadlines that the tiers below cannot keep, a
            pilot longer than the run, a head that does not fit one message, parameters a codec
            refuses, a share of airtime without a rate, a budget that carries no part, a data table
            its source refuses, or data that both train and evaluate.
    """
    plan = place.below("plan")
    _steps_can_be_counted(federation, plan)
    _milestones_are_of_steps(federation, plan.below("schedule"))
    _quorums_within_cells(federation, plan)
    _deadlines_allow_for_those_below(federation, plan)
    _heads_fit_a_part(federation, plan)
    _chosen_tau_knows_no_deadlines(federation, plan)
    _pilots_fit_into_the_run(federation, plan.below("auto"))
    _codecs_exist(federation, place)
    _budgets_carry_a_part(federation, place)
    _data_are_apart(federation, place)


def _steps_can_be_counted(federation: Federation, place: Place) -> None:
    steps = math.prod(federation.plan.tau)
    if steps > STEPS_PER_ROUND_MAX:
        raise place.refuse(
            "tau",
            f"= {list(federation.plan.tau)} makes {steps} local steps a round; allowed are 1 to "
            f"{STEPS_PER_ROUND_MAX}. Lower some of them.",
        )


def _milestones_are_of_steps(federation: Federation, place: Place) -> None:
    schedule = federation.plan.schedule
    if schedule.kind == "step" and not schedule.milestones:
        raise place.refuse(
            "milestones",
            'is missing: kind = "step" needs to know where to step. Add shares of the run, such '
            "as milestones = [0.5, 0.75].",
        )
    if schedule.kind != "step" and schedule.milestones:
        raise place.refuse(
            "milestones",
            f'= {list(schedule.milestones)} is of kind = "step", and kind is "{schedule.kind}". '
            "Write that kind, or remove milestones.",
        )


def _quorums_within_cells(federation: Federation, place: Place) -> None:
    for cell in federation.topology.cells():
        quorum = federation.plan.quorum[cell.link - 1]
        if isinstance(quorum, int) and quorum > len(cell.children):
            raise place.refuse(
                "quorum",
                f"= {quorum} on link {cell.link} is more than the {len(cell.children)} children of "
                f'{cell.parent!r}; allowed are 1 to {len(cell.children)}, or "all". Lower it, or '
                "use a fraction.",
            )


def _deadlines_allow_for_those_below(federation: Federation, place: Place) -> None:
    plan = federation.plan
    for upper in range(1, len(plan.tau)):
        lower_s, upper_s = plan.deadline_s[upper - 1], plan.deadline_s[upper]
        if upper_s is None:
            continue
        if lower_s is None:
            raise place.refuse(
                "deadline_s",
                f"= {upper_s:g} on link {upper + 1}, and link {upper} has none: a cell on tier "
                f"{upper} may take for ever, so the tier above would always close first. Give "
                f'link {upper} a deadline, or link {upper + 1} "none".',
            )
        least_s = plan.tau[upper] * lower_s + plan.transfer_s[upper]
        if upper_s < least_s:
            raise place.refuse(
                "deadline_s",
                f"= {upper_s:g} on link {upper + 1} is too short: below it run tau = "
                f"{plan.tau[upper]} iterations of up to {lower_s:g} s each, and "
                f"{plan.transfer_s[upper]:g} s are granted to the transfer. Use {least_s:g} s or "
                f"more, or a shorter deadline on link {upper}.",
            )


def _heads_fit_a_part(federation: Federation, place: Place) -> None:
    part_bytes = federation.plan.part_bytes
    for cell in federation.topology.cells():
        head_bytes = HEAD_BYTES_BASE + HEAD_BYTES_PER_MEMBER * len(cell.children)
        if head_bytes > part_bytes:
            raise place.refuse(
                "part_bytes",
                f"= {part_bytes} is too small: {cell.parent!r} has {len(cell.children)} children, "
                f"and its head may need {head_bytes} bytes in one message. Use {head_bytes} to "
                f"{PART_BYTES_MAX} bytes, or smaller cells.",
            )


def _chosen_tau_knows_no_deadlines(federation: Federation, place: Place) -> None:
    if federation.plan.auto is not None and any(federation.plan.deadline_s):
        raise place.refuse(
            "deadline_s",
            'closes iterations whose number is not known: tau is "auto". Leave it out; how long '
            "the whole run may take is deadline_s of [plan.auto].",
        )


def _pilots_fit_into_the_run(federation: Federation, place: Place) -> None:
    auto, rounds = federation.plan.auto, federation.plan.rounds
    if auto is not None and auto.estimates is None and auto.pilot_rounds > rounds:
        raise place.refuse(
            "pilot_rounds",
            f"= {auto.pilot_rounds} is more than rounds = {rounds} of [plan], of which the pilot's "
            f"are the first. Lower it, to {PILOT_ROUNDS_MIN} at least, or raise rounds, or leave "
            "rounds out.",
        )


def _codecs_exist(federation: Federation, place: Place) -> None:
    # Here, for the codecs bring numpy, and who only reads the tables needs none.
    from fedtier.quantize.registry import make_codec

    for link in federation.links:
        where = str(place.below("link", number=link.index))
        make_codec(link.codec, link.parameters, where=where)


def _budgets_carry_a_part(federation: Federation, place: Place) -> None:
    part_bytes = federation.plan.part_bytes
    for link in federation.links:
        here = place.below("link", number=link.index)
        if prices := prices_of(federation, link=link.index):
            check_budget(link.budget, prices, part_bytes=part_bytes, place=here, prefix="budget_")


def _data_are_apart(federation: Federation, place: Place) -> None:
    from fedtier.config.data_rules import check_data

    check_data(federation, place=place)
