"""Estimates of a federation that nobody has run yet: from a pilot in the simulator."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from fedtier.config.federation import Federation
from fedtier.errors import ConfigError
from fedtier.planner.estimates import Estimates, load_estimates
from fedtier.sim.simulate import simulate

PILOT_ROUNDS = 4


def simulated_estimates(federation: Federation, *, seed: int | None = None) -> Estimates:
    """Simulate a pilot and take its estimates.

    What it says of losses and gradients is measured on the data, by real training; what it says of
    times is what the file's ``[simulation]`` says.

    Args:
        federation: What is to be planned.
        seed: In place of the file's.

    Raises:
        ConfigError: If it cannot be simulated, or the pilot measured too little.
    """
    tau = (federation.plan.tau[0], *(1 for _ in federation.plan.tau[1:]))  # of a pilot's rounds
    plan = replace(federation.plan, auto=None, tau=tau, rounds=PILOT_ROUNDS)
    given = replace(federation, plan=plan)
    with tempfile.TemporaryDirectory(prefix="fedtier-pilot-") as directory:
        out = Path(directory) / "run"
        simulate(given, seed=seed, pilot=PILOT_ROUNDS, out=out)
        found = out / "estimates.json"
        if not found.exists():
            raise ConfigError(
                f"{federation.where}: a simulated pilot of {PILOT_ROUNDS} rounds measured too "
                "little to plan with. See what it logs: "
                f"fedtier sim {federation.where} --rounds {PILOT_ROUNDS} --pilot {PILOT_ROUNDS} "
                "--debug"
            )
        return load_estimates(found)
