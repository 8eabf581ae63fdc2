"""Is the gradient at the cloud's models as small as the theorem says?

Measured is the mean over rounds of |grad F(w_t)|^2, at a constant step size, beside the bound on
just that in ``docs/theory.md``, "The cloud's models". First on least squares, where curvatures are
known exactly and the theorem holds at useful step sizes; then on the demo's net, with the constants
that a pilot saw, where it holds at tiny ones only::

    python -m benchmarks.paper.gradient_norm_and_bound \
        --out benchmarks/results/paper/gradient_norm_and_bound.json
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.federations import Document, with_plan
from benchmarks.measure import Gate, Record, progress
from benchmarks.one_process import Tree
from benchmarks.paper import least_squares
from benchmarks.paper.campaign import Campaign, Result, Simulation, located, paper_arguments
from benchmarks.paper.plans import Tau
from benchmarks.paper.reading import write_plot
from benchmarks.paper.settings import with_schedule, wrists_document
from fedtier.planner.bound import Problem, bound
from fedtier.planner.estimates import parse_estimates
from fedtier.planner.setting import Setting
from fedtier.planner.tree_constants import TreeConstants
from fedtier.show.axis import Axis
from fedtier.show.line_plot import Series

SEEDS = (1, 2, 3)
LINE_ROUNDS = 60
LINE_TAUS: tuple[Tau, ...] = ((1, 1, 1), (2, 2, 1), (4, 2, 2))
LINE_L_MU = (0.003, 0.01, 0.03, 0.1)  # L mu
WRISTS_ROUNDS, WRISTS_EVERY, WRISTS_TAU = 20, 4, (4, 4, 1)
PILOT_ROUNDS = 4
WRISTS_MUS = (0.5, 1.0)  # of the largest at which the theorem holds
WRISTS_USEFUL_MU = 0.1


def measured(runs: Sequence[Result]) -> dict[str, float]:
    """Over rounds and seeds: the mean of |grad F|^2 before rounds, and its range over the seeds."""
    means = [statistics.fmean(row["norm2"] for row in run["gradients"][:-1]) for run in runs]
    return {"mean": statistics.fmean(means), "min": min(means), "max": max(means)}


def bounded(
    tree: TreeConstants, problem: Problem, *, tau: Sequence[int], mu: float, rounds: int
) -> dict[str, Any]:
    """The theorem at one plan; None where it says nothing."""
    counts = [np.asarray(float(count)) for count in tau]
    found = bound(tree, problem, tau=counts, mu=mu, rounds=rounds)
    numbers = {
        "cloud": found.cloud, "B": found.value, "omega": found.omega, "gamma": found.gamma,
        "optimisation": found.optimisation, "noise": found.noise,
        "quantization": found.quantization, "drift": found.drift,
    }  # fmt: skip
    holds = bool(found.holds)
    return {"holds": holds, **{k: float(v) if holds else None for k, v in numbers.items()}}


def of_line(campaign: Campaign, *, quick: bool) -> list[dict[str, Any]]:
    """Least squares: a row for each tau and step size."""
    rounds = 3 if quick else LINE_ROUNDS
    probe = least_squares.document(campaign.cache, rounds=rounds, tau=(1, 1, 1), mu=0.001)
    tree = Tree.load(located(probe, campaign.cache))
    steepest = least_squares.curvature(tree).steepest
    settings = {
        (tau, L_mu): least_squares.document(
            campaign.cache, rounds=rounds, tau=tau, mu=L_mu / steepest
        )
        for tau in (LINE_TAUS[:1] if quick else LINE_TAUS)
        for L_mu in (LINE_L_MU[-1:] if quick else LINE_L_MU)
    }
    named = {str(key): document for key, document in settings.items()}
    seeds = SEEDS[:1] if quick else SEEDS
    runs = campaign.of_seeds(named, seeds=seeds, gradients_every=1)
    constants = TreeConstants.balanced(least_squares.FAN_IN)
    rows = []
    for tau, L_mu in settings:
        found = runs[str((tau, L_mu))]
        problem = least_squares.problem(tree, [row for run in found for row in run["gradients"]])
        mu = L_mu / steepest
        theorem = bounded(constants, problem, tau=tau, mu=mu, rounds=rounds)
        rows.append({"tau": list(tau), "mu": mu, "L mu": L_mu, **_beside(found, theorem)})
    return rows


def of_wrists(campaign: Campaign, *, quick: bool) -> dict[str, Any]:
    """The demo's net: a row for each step size, with the constants of a pilot."""
    rounds = 2 if quick else WRISTS_ROUNDS
    document = wrists_document(campaign.cache, division="people", tiers=3)
    short = with_plan(document, tau=[WRISTS_TAU[0], 1, 1], rounds=PILOT_ROUNDS)
    (pilot,) = campaign.results([Simulation(document=short, seed=1, pilot=PILOT_ROUNDS)])
    estimates = parse_estimates(json.dumps(pilot["estimates"]), where="the pilot")
    setting = Setting.of(located(document, campaign.cache), estimates)
    problem = setting.guaranteed_problem()
    largest = mu_max(setting.tree, problem, tau=WRISTS_TAU)
    progress(f"wrists: the theorem holds up to mu = {largest:.3g}")
    mus = [WRISTS_USEFUL_MU] if quick else [*(s * largest for s in WRISTS_MUS), WRISTS_USEFUL_MU]
    settings = {mu: _constant(document, rounds=rounds, mu=mu) for mu in mus}
    seeds = SEEDS[:1] if quick else SEEDS
    runs = campaign.of_seeds(
        {str(mu): each for mu, each in settings.items()}, seeds=seeds, gradients_every=WRISTS_EVERY
    )
    rows = []
    for mu in mus:
        theorem = bounded(setting.tree, problem, tau=WRISTS_TAU, mu=mu, rounds=rounds)
        rows.append({"tau": list(WRISTS_TAU), "mu": mu, **_beside(runs[str(mu)], theorem)})
    return {"mu_max": largest, "rows": rows}


def mu_max(tree: TreeConstants, problem: Problem, *, tau: Sequence[int]) -> float:
    """The largest step size of a fine grid at which the theorem holds.

    Raises:
        ValueError: If it holds at none.
    """
    grid = np.geomspace(1e-6, 1.0, 601) / problem.smoothness
    counts = [np.asarray(float(count)) for count in tau]
    holds = bound(tree, problem, tau=counts, mu=grid, rounds=1).holds
    if not holds.any():
        raise ValueError(f"the theorem holds at no L mu from 1e-6 to 1 for tau = {tuple(tau)}")
    return float(grid[holds].max())


def _constant(document: Document, *, rounds: int, mu: float) -> Document:
    planned = with_plan(document, tau=list(WRISTS_TAU), rounds=rounds)
    return with_schedule(planned, mu=mu, kind="constant")


def _beside(runs: Sequence[Result], theorem: Mapping[str, Any]) -> dict[str, Any]:
    found = measured(runs)
    below = found["mean"] / theorem["cloud"] if theorem["holds"] else None
    return {"measured": found, "theorem": theorem, "measured_by_bound": below}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Both against the step size, for every tau."""
    series = []
    for tau in dict.fromkeys(tuple(row["tau"]) for row in rows):
        these = [row for row in rows if tuple(row["tau"]) == tau]
        name = ",".join(map(str, tau))
        lines = {
            f"measured, tau {name}": [(row["L mu"], row["measured"]["mean"]) for row in these],
            f"bound, tau {name}": [
                (row["L mu"], row["theorem"]["cloud"]) for row in these if row["theorem"]["holds"]
            ],
        }
        series += [Series(name=n, points=points) for n, points in lines.items() if points]
    x, y = Axis(title="L mu", log=True), Axis(title="mean |grad F|^2", log=True)
    write_plot(path, "Least squares: gradients at the cloud's models", series, x=x, y=y)


def main() -> int:
    """Measure both problems and set them beside the theorem."""
    chosen = paper_arguments(__doc__).parse_args()
    record = Record("paper.gradient_norm_and_bound", chosen)
    campaign = Campaign.of(chosen)
    line = of_line(campaign, quick=chosen.quick)
    wrists = of_wrists(campaign, quick=chosen.quick)
    if chosen.out is not None:
        draw(line, chosen.out.with_suffix(".svg"))
    ratios = [row["measured_by_bound"] for row in (*line, *wrists["rows"])]
    held = [ratio for ratio in ratios if ratio is not None]
    gates = [
        Gate(
            name="largest measured |grad F|^2 by its bound, where the theorem holds",
            value=max(held, default=math.inf),
            at_most=1.0,
        ),
        Gate(name="settings in which the theorem holds", value=len(held), at_least=4),
    ]
    return record.close(
        {"least squares": line, "wrists": wrists}, gates=gates, complete=not chosen.quick
    )


if __name__ == "__main__":
    sys.exit(main())
