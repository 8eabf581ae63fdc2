"""What ``import fedtier`` offers to a notebook: load a federation, simulate it, plan it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from fedtier.artefact.find import find_artefact
from fedtier.config.federation import Federation, load_federation
from fedtier.planner.choose import Choice, Wish, choose
from fedtier.planner.estimates import Estimates, estimates_for
from fedtier.planner.setting import Setting
from fedtier.sim.faults import Faults
from fedtier.sim.pilot import simulated_estimates
from fedtier.sim.simulate import Simulated, simulate

__all__ = ["Choice", "Estimates", "Faults", "Federation", "Simulated", "load", "plan", "simulate"]


def load(file: str | PathLike[str]) -> Federation:
    """Read and check a federation file.

    Raises:
        ConfigError: If it cannot be read or cannot be; names file, table, key and remedy.
    """
    return load_federation(Path(file))


def plan(
    federation: Federation,
    *,
    deadline_s: float,
    estimates: Estimates | str | PathLike[str] | None = None,
    mu: float | None = None,
    codecs: bool = False,
    steps_max: int | None = None,
) -> Choice:
    """Choose iteration counts, step size and, where asked, quantizers for a deadline.

    Args:
        federation: What ``load`` returns.
        deadline_s: Seconds for the whole run, from the start of its nodes to the end of its last
            round.
        estimates: What a pilot measured, or its ``estimates.json``; None: a pilot is simulated.
        mu: A step size to keep to; None: the best of those up to the pilot's.
        codecs: Whether the links' codecs are chosen, too.
        steps_max: The most local steps of a device in a round; None: what fits.

    Raises:
        ConfigError: If there can be no plan; it names the least deadline or budget.
    """
    if estimates is None:
        known = simulated_estimates(federation)
    else:
        known = estimates if isinstance(estimates, Estimates) else _read(federation, estimates)
    setting = Setting.of(federation, known)
    wish = Wish(
        deadline_s=deadline_s, start_s=setting.start_s, mu=mu, codecs=codecs, steps_max=steps_max
    )
    return choose(setting, wish)


def _read(federation: Federation, file: str | PathLike[str]) -> Estimates:
    dimension = find_artefact(federation.artefact).layout.dimension
    return estimates_for(federation, Path(file), dimension=dimension)
