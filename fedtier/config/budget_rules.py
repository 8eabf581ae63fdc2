"""Which budgets of a link are too small: for a part of a message, or for what a round carries."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from fedtier.budget import Budget
from fedtier.config.place import Place
from fedtier.limits import DAY_S, PART_BYTES_MIN
from fedtier.topology.node import Link
from fedtier.transport.address import parse_url
from fedtier.wire import costs
from fedtier.words import counted

if TYPE_CHECKING:
    from fedtier.config.federation import Federation

_PART_S_MAX = 60.0  # half of what a parent waits for a sender that is silent


def check_budget(
    budget: Budget,
    prices: Collection[costs.Prices],
    *,
    part_bytes: int,
    place: Place,
    prefix: str = "",
) -> None:
    """Check that a budget lets a child connect, hear what is asked, and fetch one part.

    Args:
        budget: The link's.
        prices: What things cost there, one or more.
        part_bytes: The largest part.
        place: The table the budget is from.
        prefix: What the names of the keys of bytes begin with there.

    Raises:
        ConfigError: If it does not, or a part takes too long at its pace; names the least value.
    """
    least = {
        "bytes_per_round": max(each.least_of_round for each in prices),
        "bytes_per_day": max(each.least_of_day for each in prices),
    }
    for name, needed in least.items():
        given = getattr(budget, name)
        if given is not None and given < needed:
            raise place.refuse(
                prefix + name,
                f"= {given} does not carry what is said beside the training and one part of "
                f"{part_bytes} bytes. Use {needed} or more, or a smaller part_bytes "
                f"({PART_BYTES_MIN} or more).",
            )
    if budget.rate_bytes_per_s is None:
        if budget.airtime_share_max is not None:
            raise place.refuse(
                "airtime_share_max",
                f"= {budget.airtime_share_max:g} needs rate_bytes_per_s: what the radio sends in a "
                "second while it sends. Add it.",
            )
        return
    pace = budget.rate_bytes_per_s * (budget.airtime_share_max or 1.0)
    if part_bytes / pace > _PART_S_MAX:
        raise place.refuse(
            "rate_bytes_per_s",
            f"= {budget.rate_bytes_per_s:g} comes to {pace:g} bytes a second, so one part of "
            f"{part_bytes} bytes takes {part_bytes / pace:.0f} s; {_PART_S_MAX:g} s are allowed. "
            f"Use a part_bytes of {int(pace * _PART_S_MAX)} or less "
            f"({PART_BYTES_MIN} or more), or a higher rate.",
        )


def prices_of(federation: Federation, *, link: int) -> set[costs.Prices]:
    """What things cost on link ``link``, from 1, by the cells there that differ.

    A cell has TLS where its broker's address says so.
    """
    found = set()
    for cell in federation.topology.cells():
        if cell.link == link:
            url = federation.nodes[cell.parent].broker_url
            tls = url is not None and parse_url(url).tls
            part_bytes = federation.plan.part_bytes
            members = len(cell.children)
            found.add(costs.Prices.of(members=members, part_bytes=part_bytes, tls=tls))
    return found


def needs_of(
    federation: Federation, *, link: int, payload_bytes: int, dimension: int
) -> set[costs.Needs]:
    """What children on link ``link``, from 1, need, by the cells there that differ.

    Args:
        federation: The file.
        link: The link.
        payload_bytes: Of an update, as the codec writes it.
        dimension: Parameters of the model.
    """
    part_bytes = federation.plan.part_bytes
    return {
        costs.Needs.of(
            prices, dimension=dimension, payload_bytes=payload_bytes, part_bytes=part_bytes
        )
        for prices in prices_of(federation, link=link)
    }


def check_rounds(federation: Federation, *, dimension: int, place: Place) -> None:
    """Check that every link's budget carries what its children must carry.

    Args:
        federation: The file.
        dimension: Parameters of its model.
        place: The file.

    Raises:
        ConfigError: If a round does not fit its budget; or, with a quorum that does without some
            members and a deadline, not even one iteration; if an update does not fit the budget of
            a day, or an iteration takes more days than its deadline allows. Names the least value.
    """
    # Here, for the codecs bring numpy, which who only reads a node file does not need.
    from fedtier.quantize.registry import make_codec

    for link in federation.links:
        here = place.below("link", number=link.index)
        codec = make_codec(link.codec, link.parameters, where=str(here))
        payload_bytes = codec.payload_bytes(dimension)
        needs = needs_of(
            federation, link=link.index, payload_bytes=payload_bytes, dimension=dimension
        )
        if needs:
            _check_round(federation, link, needs, here)
            _check_day(federation, link, needs, here)


def _check_round(
    federation: Federation, link: Link, needs: Collection[costs.Needs], place: Place
) -> None:
    given, plan = link.budget.bytes_per_round, federation.plan
    if given is None:
        return
    iterations = math.prod(plan.tau[link.index :])
    partial = plan.quorum[link.index - 1] != "all" and plan.deadline_s[link.index - 1] is not None
    least = max(each.of_round(1) for each in needs)
    most = max(needs, key=lambda each: each.of_round(1 if partial else iterations))
    needed = most.of_round(1 if partial else iterations)
    if given >= needed:
        return
    remedy = (
        ""
        if partial
        else "; or let rounds do without some members (quorum and deadline_s on this link), and "
        f"give it {least} or more"
    )
    unit = "one iteration" if partial else f"a round of {counted(iterations, 'iteration')}"
    raise place.refuse(
        "budget_bytes_per_round",
        f"= {given} does not carry {unit}: model {most.model}, update {most.update} and head "
        f"{most.prices.head} bytes each, and {most.beside_round} beside them. Use {needed} or "
        f"more{remedy}.",
    )


def _check_day(
    federation: Federation, link: Link, needs: Collection[costs.Needs], place: Place
) -> None:
    given, deadline_s = link.budget.bytes_per_day, federation.plan.deadline_s[link.index - 1]
    if given is None:
        return
    update = max(each.update for each in needs)
    base = max(each.prices.session + each.prices.reserve for each in needs)
    if given < base + update:
        raise place.refuse(
            "budget_bytes_per_day",
            f"= {given} does not carry an update of {update} bytes, which goes up within a day or "
            f"not at all, and {base} beside it. Use {base + update} or more, or a codec that "
            "writes less.",
        )
    least = max(each.of_day(1) for each in needs)
    days = math.ceil((least - base) / (given - base))
    if deadline_s is not None and (days - 1) * DAY_S > deadline_s:
        raise place.refuse(
            "budget_bytes_per_day",
            f"= {given}: model and update take {days} days, and the cell waits for deadline_s = "
            f"{deadline_s:g}. Use {least} or more, or a deadline of {days * DAY_S:g} s.",
        )
