"""Does the forecast order plans as training does, and is the plan that it chooses a good one?

Plans of random tau are trained in one process for as many rounds as fit into the deadline, with the
federation's data, quantizers and schedule; so are the file's own tau and the chosen plan. The
result is the rank correlation of the forecast with held-out accuracy and loss::

    python -m benchmarks.forecast --estimates estimates.json --deadline 120
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.federations import DEMO
from benchmarks.measure import Gate, Record, arguments_of, progress
from benchmarks.one_process import train
from fedtier.config.federation import Federation, load_federation
from fedtier.errors import TrainingError
from fedtier.planner.choose import Wish, choose
from fedtier.planner.estimates import load_estimates
from fedtier.planner.setting import Setting

COUNTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)
RANK_CORRELATION_MIN = 0.8


def random_plans(
    setting: Setting, *, deadline_s: float, steps_max: int, count: int, seed: int
) -> list[tuple[int, ...]]:
    """Different tau of which two rounds at least fit into the deadline."""
    draws = np.random.default_rng(seed)
    found: list[tuple[int, ...]] = []
    for _ in range(100_000):
        tau = tuple(int(n) for n in draws.choice(COUNTS, setting.tree.links))
        fits = setting.costs.rounds(tau, deadline_s=deadline_s) >= 2
        if fits and math.prod(tau) <= steps_max and tau not in found:
            found.append(tau)
            if len(found) == count:
                return found
    raise SystemExit(f"only {len(found)} plans fit; {count} are wanted: give a longer --deadline")


def trained(
    setting: Setting, tau: tuple[int, ...], mu: float, *, rounds: int, seed: int
) -> dict[str, Any]:
    """One plan: what was forecast, and what came of it; no accuracy where training diverged."""
    counts = [np.asarray(float(n)) for n in tau]
    forecast = float(setting.forecast.value(counts, mu=mu, rounds=np.asarray(float(rounds))))
    row = {"tau": list(tau), "mu": mu, "rounds": rounds, "forecast": forecast}
    try:
        found = train(_planned(setting.federation, tau, mu, rounds=rounds, seed=seed))
    except TrainingError as error:
        found = {"accuracy": 0.0, "loss": math.inf, "error": str(error)}
    row |= {"accuracy": found["accuracy"], "loss": found["loss"]}
    progress(f"{row}")
    return row


def _planned(
    federation: Federation, tau: tuple[int, ...], mu: float, *, rounds: int, seed: int
) -> Federation:
    schedule = replace(federation.plan.schedule, mu=mu)
    plan = replace(federation.plan, tau=tau, rounds=rounds, seed=seed, schedule=schedule)
    return replace(federation, plan=plan)


def rank_correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Spearman's, with the mean rank for equal values."""
    ranks = []
    for values in (np.asarray(a, np.float64), np.asarray(b, np.float64)):
        ordered = np.sort(values)
        left, right = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
        ranks.append((left + right) / 2)
    one, other = (each - each.mean() for each in ranks)
    return float(one @ other / math.sqrt((one @ one) * (other @ other)))


def main() -> int:
    """Train as the options say."""
    parser = arguments_of(__doc__)
    parser.add_argument("--federation", type=Path, default=DEMO)
    parser.add_argument("--estimates", type=Path, required=True)
    parser.add_argument("--deadline", type=float, required=True, help="seconds")
    parser.add_argument("--plans", type=int, default=21, help="random ones")
    parser.add_argument("--steps-max", type=int, default=128, help="local steps of their rounds")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    record = Record("forecast", chosen)
    setting = Setting.of(load_federation(chosen.federation), load_estimates(chosen.estimates))
    best = choose(setting, Wish(deadline_s=chosen.deadline)).found
    file = setting.federation.plan

    def row(tau: tuple[int, ...], mu: float) -> dict[str, Any]:
        rounds = int(setting.costs.rounds(tau, deadline_s=chosen.deadline))
        return trained(setting, tau, mu, rounds=rounds, seed=chosen.seed)

    plans = random_plans(
        setting, deadline_s=chosen.deadline, steps_max=chosen.steps_max, count=chosen.plans,
        seed=chosen.seed,
    )  # fmt: skip
    rows = [row(tau, best.mu) for tau in plans]
    forecasts = [-each["forecast"] for each in rows]
    results: dict[str, Any] = {
        "plans": rows,
        "accuracy": rank_correlation(forecasts, [each["accuracy"] for each in rows]),
        "loss": rank_correlation(forecasts, [-each["loss"] for each in rows]),
        "chosen": row(best.tau, best.mu),
        "file": row(file.tau, file.schedule.mu),
    }
    gate = Gate(
        name="rank correlation of forecast and accuracy",
        value=results["accuracy"],
        at_least=RANK_CORRELATION_MIN,
    )
    return record.close(results, gates=[gate], complete=chosen.plans >= 21)


if __name__ == "__main__":
    sys.exit(main())
