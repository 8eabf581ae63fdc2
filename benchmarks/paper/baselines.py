"""How does a planned tree of three tiers compare with FedAvg, HierFAVG and Hier-Local-QSGD?

The same devices and the same places: a device is in a home, homes are in regions, regions reach
the cloud. Who leaves out a tier sends over all links between. Each method has its own best tau and
step size of a small grid, by the devices' own hold-outs with a seed of its own; then all get the
same deadline. FedAvg and HierFAVG send float32. The pilot's own time is not counted::

    python -m benchmarks.paper.baselines --out benchmarks/results/paper/baselines.json
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.federations import Document, with_identity_links, with_plan
from benchmarks.measure import Record, progress
from benchmarks.paper.campaign import Campaign, Simulation, located, paper_arguments
from benchmarks.paper.plans import Tau, planned, within
from benchmarks.paper.reading import accuracy_at, claim, draw, error_of, summary
from benchmarks.paper.settings import CLOUD, HOME, REGION, costs_of, lenet_document, wrists_document

TUNING_SEED = 101
SEEDS = (1, 2, 3)
STEP_S = 0.05
DEADLINE_S = {"wrists": 40.0, "lenet": 80.0}
MUS = {"wrists": (0.1, 0.2, 0.4), "lenet": (0.05, 0.1, 0.2)}
PILOT_ROUNDS = 4
PILOT_TAU = (8, 1, 1)
OURS = "planned, N = 3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A tree with its links, and the tau from which it takes its best."""

    name: str
    document: Document
    taus: Sequence[Tau]


def through(*lines: Mapping[str, float]) -> dict[str, float]:
    """A link over several: as slow as the slowest, and all their latencies."""
    return {
        "rate_bytes_per_s": min(line["rate_bytes_per_s"] for line in lines),
        "latency_s": sum(line["latency_s"] for line in lines),
    }


def methods(net: str, cache: Path, *, ours: Tau) -> list[Method]:
    """What is compared; ``ours`` is the planned tau."""
    one, two, three = (_document(net, cache, tiers) for tiers in (1, 2, 3))
    pairs: list[Tau] = [(4, 4), (16, 1), (16, 4)]
    return [
        Method(
            name="FedAvg, N = 1",
            document=with_identity_links(one),
            taus=[(4,), (16,), (64,)],
        ),
        Method(name="HierFAVG, N = 2", document=with_identity_links(two), taus=pairs),
        Method(name="Hier-Local-QSGD, N = 2", document=two, taus=pairs),
        Method(name=OURS, document=three, taus=[ours]),
    ]


def _document(net: str, cache: Path, tiers: int) -> Document:
    """One net on the tree of so many tiers."""
    lines = {
        1: [through(HOME, REGION, CLOUD)],
        2: [HOME, through(REGION, CLOUD)],
        3: [HOME, REGION, CLOUD],
    }
    document = (
        wrists_document(cache, division="people", tiers=tiers)
        if net == "wrists"
        else lenet_document(cache, division="dirichlet-1", tiers=tiers, devices=16)
    )
    return {**document, "simulation": {"step_s": STEP_S, "link": lines[tiers]}}


def tuned(
    campaign: Campaign, method: Method, *, mus: Sequence[float], deadline_s: float
) -> tuple[Document, dict[str, Any]]:
    """A method's best plan, by a run of each with the seed for that."""
    costs = costs_of(located(method.document, campaign.cache))
    grid = [
        (tau, mu, within(method.document, costs, tau=tau, mu=mu, deadline_s=deadline_s))
        for tau in method.taus
        for mu in mus
    ]
    found = campaign.results([Simulation(document=each, seed=TUNING_SEED) for *_, each in grid])
    rows = [
        {
            "tau": list(tau),
            "mu": mu,
            "rounds": len(one["rounds"]),
            "loss_devices": error_of(one),
        }
        for (tau, mu, _), one in zip(grid, found, strict=True)
    ]
    losses = [error_of(one) for one in found]
    best = losses.index(min(losses))
    progress(f"{method.name}: best {rows[best]}")
    return grid[best][2], {"best": rows[best], "grid": rows}


def compared(campaign: Campaign, net: str, *, quick: bool, out: Path | None) -> dict[str, Any]:
    """One net: plan, tune, and train all methods with every seed."""
    deadline_s = DEADLINE_S[net] / (6 if quick else 1)
    mus = MUS[net][-1:] if quick else MUS[net]
    three = _document(net, campaign.cache, 3)
    short = with_plan(three, tau=list(PILOT_TAU), rounds=PILOT_ROUNDS)
    pilot = Simulation(document=short, seed=TUNING_SEED, pilot=PILOT_ROUNDS)
    (measured,) = campaign.results([pilot])
    _, found = planned(
        three, campaign.cache, estimates=measured["estimates"], deadline_s=deadline_s
    )
    settings: dict[str, Document] = {}
    tuning: dict[str, Any] = {}
    for method in methods(net, campaign.cache, ours=found.tau):
        tried = replace(method, taus=method.taus[:1]) if quick else method
        settings[method.name], tuning[method.name] = tuned(
            campaign, tried, mus=mus, deadline_s=deadline_s
        )
    runs = campaign.of_seeds(settings, seeds=SEEDS[:1] if quick else SEEDS)
    accuracy = {
        name: statistics.fmean(accuracy_at(one, deadline_s) for one in ones)
        for name, ones in runs.items()
    }
    if out is not None:
        path = out.with_name(f"{out.stem}-{net}.svg")
        draw(path, f"{net}: {deadline_s:g} s", runs, across="seconds")
    return {
        "deadline_s": deadline_s,
        "planner": {"tau": list(found.tau), "mu": found.mu},
        "methods": {
            name: {"accuracy_at_deadline": accuracy[name], **tuning[name], **summary(ones)}
            for name, ones in runs.items()
        },
        "claims": [
            claim(f"{net}: ahead of {name}", accuracy[OURS] - value, at_least=0.0)
            for name, value in accuracy.items()
            if name != OURS
        ],
    }


def main() -> int:
    """Compare on both nets."""
    chosen = paper_arguments(__doc__).parse_args()
    record = Record("paper.baselines", chosen)
    campaign = Campaign.of(chosen)
    nets = ["wrists"] if chosen.quick else list(DEADLINE_S)
    results = {net: compared(campaign, net, quick=chosen.quick, out=chosen.out) for net in nets}
    return record.close(results, complete=not chosen.quick)


if __name__ == "__main__":
    sys.exit(main())
