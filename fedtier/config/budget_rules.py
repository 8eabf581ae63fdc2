"""Which budgets of a link are too small: for a part of a message, or for what a round carries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fedtier.budget import Budget
from fedtier.config.place import Place
from fedtier.limits import DAY_S, PART_BYTES_MIN
from fedtier.topology.node import Cell
from fedtier.transport.address import parse_url
from fedtier.wire import costs

if TYPE_CHECKING:
    from fedtier.config.federation import Federation

_PART_S_MAX = 60.0  # half of what a parent waits for a sender that is silent


def check_budget(
    budget: Budget, prices: costs.Prices, *, part_bytes: int, place: Place, prefix: str = ""
) -> None:
    """Check that a budget lets a child connect, hear what is asked, and fetch one part.

    Args:
        budget: The link's.
        prices: What things cost there.
        part_bytes: The largest part.
        place: The table the budget is from.
        prefix: What the names of the keys of bytes begin with there.

    Raises:
        ConfigError: If it does not, or a part takes too long at its pace; names the least value.
    """
    least = {"bytes_per_round": prices.least_of_round, "bytes_per_day": prices.least_of_day}
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


def prices_of(federation: Federation, cell: Cell) -> costs.Prices:
    """What things cost on the links of a cell, with TLS where its broker's address says so."""
    url = federation.nodes[cell.parent].broker_url
    tls = url is not None and parse_url(url).tls
    part_bytes = federation.plan.part_bytes
    return costs.Prices.of(members=len(cell.children), part_bytes=part_bytes, tls=tls)


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
    for cell in federation.topology.cells():
        here = place.below("link", number=cell.link)
        prices = prices_of(federation, cell)
        _check_round(federation, cell, dimension, prices, here)
        _check_day(federation, cell, dimension, prices, here)


def _check_round(
    federation: Federation, cell: Cell, dimension: int, prices: costs.Prices, place: Place
) -> None:
    budget, plan = federation.links[cell.link - 1].budget, federation.plan
    if budget.bytes_per_round is None:
        return
    iterations = math.prod(plan.tau[cell.link :])
    model, update = _exchange(federation, cell, dimension)
    base = prices.session + prices.kept
    whole = base + iterations * (prices.head + model + update)
    partial = plan.quorum[cell.link - 1] != "all" and plan.deadline_s[cell.link - 1] is not None
    needed = base + prices.head + model + update if partial else whole
    if budget.bytes_per_round >= needed:
        return
    remedy = (
        ""
        if partial
        else "; or let rounds do without some members (quorum and deadline_s on this link), and "
        f"give it {base + prices.head + model + update} or more"
    )
    unit = "one iteration" if partial else f"a round of {iterations} iterations"
    raise place.refuse(
        "budget_bytes_per_round",
        f"= {budget.bytes_per_round} does not carry {unit}: model {model}, update {update} and "
        f"head {prices.head} bytes each, and {base} beside them. Use {needed} or more{remedy}.",
    )


def _check_day(
    federation: Federation, cell: Cell, dimension: int, prices: costs.Prices, place: Place
) -> None:
    budget, plan = federation.links[cell.link - 1].budget, federation.plan
    if budget.bytes_per_day is None:
        return
    model, update = _exchange(federation, cell, dimension)
    base = prices.session + prices.reserve
    if budget.bytes_per_day < base + update:
        raise place.refuse(
            "budget_bytes_per_day",
            f"= {budget.bytes_per_day} does not carry an update of {update} bytes, which goes up "
            f"within a day or not at all, and {base} beside it. Use {base + update} or more, or a "
            "codec that writes less.",
        )
    days = math.ceil((model + update + prices.head) / (budget.bytes_per_day - base))
    deadline_s = plan.deadline_s[cell.link - 1]
    if deadline_s is not None and (days - 1) * DAY_S > deadline_s:
        least = base + model + update + prices.head
        raise place.refuse(
            "budget_bytes_per_day",
            f"= {budget.bytes_per_day}: model and update take {days} days, and the cell waits for "
            f"deadline_s = {deadline_s:g}. Use {least} or more, or a deadline of "
            f"{days * DAY_S:g} s.",
        )


def _exchange(federation: Federation, cell: Cell, dimension: int) -> tuple[int, int]:
    """Bytes of a model down and of an update up, with all that is said about them."""
    # Here, for the codecs bring numpy, which who only reads a node file does not need.
    from fedtier.quantize.registry import make_codec

    link, part_bytes = federation.links[cell.link - 1], federation.plan.part_bytes
    codec = make_codec(link.codec, link.parameters, where=str(cell.parent))
    update = costs.update_bytes(codec.payload_bytes(dimension), part_bytes)
    return costs.model_bytes(dimension, part_bytes), update
