"""Does the planner's forecast order plans as training does?

One of three nets, with three kinds of links: a pilot, the plan that is chosen by it for a deadline
of one minute, and 20 random tau, all at the planner's step size. What is compared is the rank of a
tau by its forecast with that by held-out accuracy at the deadline, in the mean of several seeds,
since where tau end close to one another their order by a single run is chance::

    python -m benchmarks.paper.forecast_order wrists \
        --out benchmarks/results/paper/forecast_order-wrists.json
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.federations import Document, with_plan
from benchmarks.measure import Gate, Record, progress
from benchmarks.paper.campaign import Campaign, Result, Simulation, located, paper_arguments
from benchmarks.paper.nets_and_lines import LINES, MU, net_document
from benchmarks.paper.plans import Tau, planned, random_tau, within
from benchmarks.paper.reading import accuracy_at, claim, rank_correlation, write_plot
from benchmarks.paper.settings import costs_of
from fedtier.planner.cost import Costs
from fedtier.planner.forecast import Forecast
from fedtier.show.axis import Axis
from fedtier.show.line_plot import Series

DEADLINE_S = 60.0
RANDOM, RANDOM_SEED = 20, 505
SEEDS = (1, 2, 3)
STEPS_MAX = 128  # of a round, planned ones too
PILOT_ROUNDS, PILOT_STEPS = 4, 8
RANK_CORRELATION_MIN = 0.8
FREE_LINES = "loopback"
"""There every tau does as many local steps, so they end close together: a result and no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A net with one kind of links: the planned tau first, then the random ones."""

    lines: str
    document: Document
    costs: Costs
    forecast: Forecast
    deadline_s: float
    mu: float
    taus: Sequence[Tau]

    def runs(self, seeds: Sequence[int]) -> list[list[Simulation]]:
        """Of every tau its runs, one for each seed."""
        documents = (
            within(self.document, self.costs, tau=tau, mu=self.mu, deadline_s=self.deadline_s)
            for tau in self.taus
        )
        return [[Simulation(document=each, seed=seed) for seed in seeds] for each in documents]

    def result(self, found: Sequence[Sequence[Result]]) -> dict[str, Any]:
        """A row for every tau, and the rank correlation."""
        rows: list[dict[str, Any]] = [
            {
                "tau": list(tau),
                "rounds": len(ones[0]["rounds"]),
                "forecast_loss": self._forecast_loss(tau),
                "accuracy": statistics.fmean(accuracy_at(one, self.deadline_s) for one in ones),
                "loss": statistics.fmean(one["loss"] for one in ones),
            }
            for tau, ones in zip(self.taus, found, strict=True)
        ]
        forecasts = [-self._forecast_loss(tau) for tau in self.taus]
        return {
            "mu": self.mu,
            "planned": rows[0],
            "random": rows[1:],
            "rank_correlation": rank_correlation(forecasts, [row["accuracy"] for row in rows]),
            "rank_correlation_with_loss": rank_correlation(
                forecasts, [-row["loss"] for row in rows]
            ),
        }

    def _forecast_loss(self, tau: Tau) -> float:
        counts = [np.asarray(float(count)) for count in tau]
        rounds = self.costs.rounds(tau, deadline_s=self.deadline_s)
        return float(self.forecast.value(counts, mu=self.mu, rounds=rounds))


def cases(campaign: Campaign, net: str, *, quick: bool) -> list[Case]:
    """Measure the net with every kind of links, plan, and draw the random tau."""
    plan = {"tau": [PILOT_STEPS, 1, 1], "rounds": PILOT_ROUNDS}
    documents = {
        lines: net_document(net, lines, campaign.cache)
        for lines in list(LINES)[: 1 if quick else None]
    }
    pilots = campaign.results(
        [
            Simulation(document=with_plan(document, **plan), seed=1, pilot=PILOT_ROUNDS)
            for document in documents.values()
        ]
    )
    deadline_s = DEADLINE_S / (6 if quick else 1)
    found = []
    for (lines, document), pilot in zip(documents.items(), pilots, strict=True):
        costs = costs_of(located(document, campaign.cache))
        setting, chosen = planned(
            document, campaign.cache, estimates=pilot["estimates"], deadline_s=deadline_s,
            steps_max=STEPS_MAX,
        )  # fmt: skip
        progress(f"{net}, {lines}: planned tau {chosen.tau}, mu {chosen.mu:.3g}")
        others = random_tau(
            costs, deadline_s=deadline_s, count=2 if quick else RANDOM, seed=RANDOM_SEED,
            steps_max=STEPS_MAX,
        )  # fmt: skip
        case = Case(
            lines=lines,
            document=document,
            costs=costs,
            forecast=setting.forecast,
            deadline_s=deadline_s,
            mu=chosen.mu,
            taus=[chosen.tau, *others],
        )
        found.append(case)
    return found


def draw(net: str, results: dict[str, Any], path: Path) -> None:
    """Accuracy against the forecast, a point for each tau."""
    series = [
        Series(
            name=f"{lines}: {found['rank_correlation']:.2f}",
            points=sorted(
                (row["forecast_loss"], 100 * row["accuracy"])
                for row in (found["planned"], *found["random"])
            ),
            marks="points",
        )
        for lines, found in results.items()
    ]
    x = Axis(title="forecast loss, nats")
    y = Axis(title="accuracy at the deadline, %")
    write_plot(path, f"{net}: 21 tau each, rank correlation", series, x=x, y=y)


def main() -> int:
    """Train every tau, and compare the orders."""
    parser = paper_arguments(__doc__)
    parser.add_argument("net", choices=MU, help="what is trained")
    chosen = parser.parse_args()
    record = Record("paper.forecast_order", chosen)
    campaign = Campaign.of(chosen)
    seeds = SEEDS[:1] if chosen.quick else SEEDS
    settings = cases(campaign, chosen.net, quick=chosen.quick)
    campaign.results([one for case in settings for ones in case.runs(seeds) for one in ones])
    results: dict[str, Any] = {
        case.lines: case.result([campaign.results(ones, quiet=True) for ones in case.runs(seeds)])
        for case in settings
    }
    if chosen.out is not None:
        draw(chosen.net, results, chosen.out.with_suffix(".svg"))
    correlations = {lines: found["rank_correlation"] for lines, found in results.items()}
    gates = [
        Gate(
            name=f"{lines}: rank correlation of forecast and accuracy",
            value=value,
            at_least=RANK_CORRELATION_MIN,
        )
        for lines, value in correlations.items()
        if lines != FREE_LINES
    ]
    results["claims"] = [
        claim(f"{lines}: rank correlation", value, at_least=RANK_CORRELATION_MIN)
        for lines, value in correlations.items()
        if lines == FREE_LINES
    ]
    return record.close(results, gates=gates, complete=not chosen.quick)


if __name__ == "__main__":
    sys.exit(main())
