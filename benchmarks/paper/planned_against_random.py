"""Is a planned tau better than random ones within the same time?

Two nets, each with steps that are quick, slow and very slow beside their messages. In each of the
six settings the planned tau and 20 random ones get the same deadline, each tau twice: at the step
size the planner gives, and at the best of five for that very tau, by the devices' own hold-outs
after a quarter of the run. Compared are held-out accuracy at the deadline and the mean of
|grad F|^2 at the cloud's models. The pilot's own time is not counted::

    python -m benchmarks.paper.planned_against_random \
        --out benchmarks/results/paper/planned_against_random.json
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.federations import Document, with_plan
from benchmarks.measure import Gate, Record, progress
from benchmarks.paper.campaign import Campaign, Simulation, located, paper_arguments
from benchmarks.paper.contest import Contest
from benchmarks.paper.plans import planned, random_tau, slowed
from benchmarks.paper.reading import claim
from benchmarks.paper.settings import costs_of, lenet_document, wrists_document
from fedtier.planner.cost import Costs

RANDOM = 20
RANDOM_SEED = 505
SEED = 1
STEPS_MAX = 64  # of a round, planned ones too
STEP_S = {"quick": 0.02, "slow": 0.16, "very slow": 1.28}
MU_SHARES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the planner's step size
PILOT_ROUNDS = 4
PILOT_STEPS = 8
RANK_MAX, BEHIND_MAX = 4, 0.01


def documents(cache: Path, *, quick: bool) -> dict[str, Document]:
    """The settings by name."""
    nets = {"wrists": wrists_document(cache, division="people", tiers=3)}
    if not quick:
        nets["lenet"] = lenet_document(cache, division="dirichlet-1", tiers=3, devices=16)
    return {
        f"{net}, {speed} steps": slowed(document, step_s=step_s)
        for net, document in nets.items()
        for speed, step_s in list(STEP_S.items())[: 1 if quick else None]
    }


def deadline_of(document: Document, costs: Costs) -> float:
    """Seconds in which 200 local steps fit beside six messages of each link."""
    messages_s = sum(each.seconds for each in costs.exchanges)
    step_s: float = document["simulation"]["step_s"]
    return 200 * step_s + 6 * messages_s


def contests(campaign: Campaign, *, quick: bool) -> list[Contest]:
    """Measure every setting in a pilot, plan it, and draw the random tau."""
    cache = campaign.cache
    settings = documents(cache, quick=quick)
    plan = {"tau": [PILOT_STEPS, 1, 1], "rounds": PILOT_ROUNDS}
    pilots = campaign.results(
        [
            Simulation(document=with_plan(document, **plan), seed=SEED, pilot=PILOT_ROUNDS)
            for document in settings.values()
        ]
    )
    found = []
    for (name, document), pilot in zip(settings.items(), pilots, strict=True):
        costs = costs_of(located(document, cache))
        deadline_s = deadline_of(document, costs) / (2 if quick else 1)
        setting, chosen = planned(
            document, cache, estimates=pilot["estimates"], deadline_s=deadline_s,
            steps_max=STEPS_MAX,
        )  # fmt: skip
        progress(f"{name}: planned tau {chosen.tau}, mu {chosen.mu:.3g}, in {deadline_s:.1f} s")
        others = random_tau(
            costs, deadline_s=deadline_s,
            count=2 if quick else RANDOM, seed=RANDOM_SEED, steps_max=STEPS_MAX,
        )  # fmt: skip
        contest = Contest(
            name=name, document=document, costs=costs, deadline_s=deadline_s, mu=chosen.mu,
            forecast=setting.forecast, shares=MU_SHARES[2:4] if quick else MU_SHARES,
            taus=[chosen.tau, *others], seed=SEED,
        )  # fmt: skip
        found.append(contest)
    return found


def gates_of(results: Mapping[str, Mapping[str, Any]]) -> list[Gate]:
    """In how many of the six settings the planned tau is as good as is asked."""
    placed = [each["placed"] for each in results.values()]
    counts = {
        "planned tau at least as accurate as the median random one": (
            sum(each["ahead_of_median"] >= 0 for each in placed), 6,
        ),
        "planned tau within a point of the most accurate": (
            sum(each["behind_best"] <= BEHIND_MAX for each in placed), 4,
        ),
    }  # fmt: skip
    return [
        Gate(name=f"{name}: settings of six", value=count, at_least=least)
        for name, (count, least) in counts.items()
    ]


def claims_of(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Its rank in gradient norm, which need not tell how good a net is after so few steps."""
    ranks = [each["placed"]["rank_in_gradient_norm"] for each in results.values()]
    name = "planned tau among the first four of 21 in gradient norm: settings of six"
    return [claim(name, sum(rank <= RANK_MAX for rank in ranks), at_least=5)]


def main() -> int:
    """Plan, pilot and train in every setting."""
    chosen = paper_arguments(__doc__).parse_args()
    record = Record("paper.planned_against_random", chosen)
    campaign = Campaign.of(chosen)
    settings = contests(campaign, quick=chosen.quick)
    campaign.results([one for contest in settings for one in contest.pilots()])
    for contest in settings:
        contest.choose_step_sizes(campaign)
    campaign.results([one for contest in settings for one in contest.runs()])
    results: dict[str, Any] = {}
    for contest in settings:
        results[contest.name] = found = contest.result(campaign)
        if chosen.out is not None:
            words = contest.name.replace(",", "").replace(" ", "-")
            contest.draw(found, chosen.out.with_name(f"{chosen.out.stem}-{words}.svg"))
    gates = gates_of(results)
    results["claims"] = claims_of(results)
    return record.close(results, gates=gates, complete=not chosen.quick)


if __name__ == "__main__":
    sys.exit(main())
