"""Several tau in one setting and one deadline: pilots for a step size of their own, runs, ranks."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.federations import Document
from benchmarks.paper.campaign import Campaign, Result, Simulation
from benchmarks.paper.plans import Tau, within
from benchmarks.paper.reading import accuracy_at, error_of, rank_correlation, write_plot
from fedtier.planner.cost import Costs
from fedtier.planner.forecast import Forecast
from fedtier.show.axis import Axis
from fedtier.show.line_plot import Series

PILOT_SHARE = 0.25
"""Of a run's rounds, in which a step size shows what it is worth."""
GRADIENTS = 4  # measurements in a run


@dataclass(slots=True, kw_only=True)
class Contest:
    """The tau of one setting, the planned one first.

    Attributes:
        name: Of the setting.
        document: The federation.
        costs: What its rounds take.
        deadline_s: Virtual seconds of every run.
        mu: The planner's.
        forecast: The planner's.
        shares: Step sizes that each tau may choose from, as multiples of ``mu``.
        taus: Different ones but for the first, which may occur again.
        seed: Of every run.
        best_mu: By tau its own, once ``choose_step_sizes`` has been asked.
    """

    name: str
    document: Document
    costs: Costs
    deadline_s: float
    mu: float
    forecast: Forecast
    shares: Sequence[float]
    taus: Sequence[Tau]
    seed: int = 1
    best_mu: dict[Tau, float] = field(default_factory=dict)

    def pilots(self) -> Iterator[Simulation]:
        """Short runs of every tau at every step size."""
        for tau in self.taus:
            for share in self.shares:
                yield self._pilot(tau, share * self.mu)

    def choose_step_sizes(self, campaign: Campaign) -> None:
        """For every tau the step size whose pilot left the least loss on devices' own hold-outs."""
        for tau in self.taus:
            mus = [share * self.mu for share in self.shares]
            found = campaign.results([self._pilot(tau, mu) for mu in mus], quiet=True)
            losses = {mu: error_of(one) for mu, one in zip(mus, found, strict=True)}
            self.best_mu[tau] = min(losses, key=lambda mu: (losses[mu], mu))

    def runs(self) -> Iterator[Simulation]:
        """Of every tau at the planner's step size and at its own, with gradients."""
        for tau in self.taus:
            for mu in dict.fromkeys((self.mu, self.best_mu[tau])):
                yield self._run(tau, mu)

    def result(self, campaign: Campaign) -> dict[str, Any]:
        """Figures of every tau at the planner's mu and at its own, and the rank of the planned."""
        plans = []
        for tau in self.taus:
            row: dict[str, Any] = {"tau": list(tau), "forecast_loss": self._forecast(tau)}
            for kind, mu in (("planner's mu", self.mu), ("own mu", self.best_mu[tau])):
                (found,) = campaign.results([self._run(tau, mu)], quiet=True)
                row[kind] = {"mu": mu, **self._figures(found)}
            plans.append(row)
        return {
            "deadline_s": self.deadline_s,
            "planned": plans[0],
            "random": plans[1:],
            "placed": _placed([row["own mu"] for row in plans]),
            "rank_correlation_of_forecast": rank_correlation(
                [-row["forecast_loss"] for row in plans],
                [row["planner's mu"]["accuracy"] for row in plans],
            ),
        }

    def draw(self, result: dict[str, Any], path: Path) -> None:
        """Write a plot of accuracy against the local steps of a round, each tau at its own mu."""
        groups = {"random": result["random"], "planned": [result["planned"]]}
        series = [
            Series(
                name=name,
                points=[(_steps(row["tau"]), 100 * row["own mu"]["accuracy"]) for row in rows],
                marks="points",
            )
            for name, rows in groups.items()
        ]
        x = Axis(title="local steps of a device in a round", log=True)
        write_plot(path, self.name, series, x=x, y=Axis(title="accuracy at the deadline, %"))

    def _forecast(self, tau: Tau) -> float:
        counts = [np.asarray(float(count)) for count in tau]
        rounds = self.costs.rounds(tau, deadline_s=self.deadline_s)
        return float(self.forecast.value(counts, mu=self.mu, rounds=rounds))

    def _figures(self, found: Result) -> dict[str, Any]:
        norms = [row["norm2"] for row in found["gradients"]]
        return {
            "rounds": len(found["rounds"]),
            "seconds": found["rounds"][-1]["seconds"],
            "accuracy": accuracy_at(found, self.deadline_s),
            "loss": found["loss"],
            "gradient_norm2_mean": statistics.fmean(norms[:-1]),  # at the models before rounds
            "gradient_norm2_end": norms[-1],
        }

    def _pilot(self, tau: Tau, mu: float) -> Simulation:
        return Simulation(document=self._planned(tau, mu, share=PILOT_SHARE), seed=self.seed)

    def _run(self, tau: Tau, mu: float) -> Simulation:
        document = self._planned(tau, mu)
        every = max(1, document["plan"]["rounds"] // GRADIENTS)
        return Simulation(document=document, seed=self.seed, gradients_every=every)

    def _planned(self, tau: Tau, mu: float, *, share: float = 1.0) -> Document:
        return within(
            self.document, self.costs, tau=tau, mu=mu, deadline_s=self.deadline_s, share=share
        )


def _placed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Where the first is among them, each at its own step size."""
    planned, *others = rows
    norms = [row["gradient_norm2_mean"] for row in rows]
    accuracies = [row["accuracy"] for row in others]
    return {
        "rank_in_gradient_norm": 1 + sum(norm < norms[0] for norm in norms),
        "ahead_of_median": planned["accuracy"] - statistics.median(accuracies),
        "behind_best": max(accuracies) - planned["accuracy"],
    }


def _steps(tau: Sequence[int]) -> float:
    steps = 1.0
    for count in tau:
        steps *= count
    return steps
