"""Plans to compare with a planned one: random tau, and how many rounds fit into a deadline."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.federations import Document, with_plan
from benchmarks.paper.campaign import located
from benchmarks.paper.settings import with_schedule
from fedtier.planner.choose import Wish, best
from fedtier.planner.cost import Costs
from fedtier.planner.estimates import parse_estimates
from fedtier.planner.search import Found
from fedtier.planner.setting import Setting

Tau = tuple[int, ...]


def random_tau(
    costs: Costs, *, deadline_s: float, count: int, seed: int, steps_max: int
) -> list[Tau]:
    """Different tau of which two rounds at least fit, each tau_n uniform in its logarithm.

    That is a random chain of divisors S_1 | S_2 | ... | S_N, uniform in log over those that fit.

    Args:
        costs: What rounds take.
        deadline_s: Of a run.
        count: How many.
        seed: Of the draws.
        steps_max: The most local steps in a round.

    Raises:
        ValueError: If so many are not found.
    """
    draws = np.random.default_rng(seed)
    found: dict[Tau, None] = {}
    for _ in range(100_000):
        logs = draws.uniform(0.0, math.log(steps_max + 1), costs.links)
        tau = tuple(int(math.exp(log)) for log in logs)
        if math.prod(tau) <= steps_max and costs.rounds(tau, deadline_s=deadline_s) >= 2:
            found[tau] = None
            if len(found) == count:
                return list(found)
    raise ValueError(
        f"only {len(found)} tau of at most {steps_max} steps fit twice into {deadline_s:g} s; "
        f"{count} are wanted. Give a longer deadline."
    )


def planned(
    document: Document,
    cache: Path,
    *,
    estimates: Mapping[str, Any],
    deadline_s: float,
    steps_max: int | None = None,
) -> tuple[Setting, Found]:
    """What the planner chooses of a federation, and what it knows of it.

    Args:
        document: The federation.
        cache: Where its data are.
        estimates: The document of its pilot.
        deadline_s: Of the run.
        steps_max: The most local steps in a round; None: what fits.
    """
    measured = parse_estimates(json.dumps(estimates), where="the pilot")
    setting = Setting.of(located(document, cache), measured)
    return best(setting, Wish(deadline_s=deadline_s, steps_max=steps_max))


def within(
    document: Document, costs: Costs, *, tau: Tau, mu: float, deadline_s: float, share: float = 1.0
) -> Document:
    """The federation with a plan that fills a deadline.

    Args:
        document: The federation.
        costs: What its rounds take.
        tau: Of the plan.
        mu: The step size its cosine schedule begins with.
        deadline_s: Virtual seconds.
        share: Of the rounds that fit, to be done; one at least.
    """
    fitting = int(costs.rounds(tau, deadline_s=deadline_s))
    rounds = max(1, round(share * fitting))
    return with_schedule(with_plan(document, tau=list(tau), rounds=rounds), mu=mu)


def slowed(document: Document, *, step_s: float) -> Document:
    """The same federation with local steps that take so long."""
    simulation: Mapping[str, Any] = document["simulation"]
    return {**document, "simulation": {**simulation, "step_s": step_s}}
