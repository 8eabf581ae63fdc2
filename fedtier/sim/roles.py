"""What the simulator asks of the roles, which it knows by name alone: they offer entry points."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from fedtier.config.federation import Federation
from fedtier.errors import ConfigError
from fedtier.ids import NodeId
from fedtier.runtime.host import Assembled
from fedtier.sim.world import SimBoot

GROUP = "fedtier.simulated"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is common to all nodes of one simulation.

    Attributes:
        federation: What is trained.
        run_dir: Where the cloud writes the run down.
        rounds: In place of the federation's.
        seed: In place of the federation's.
        pilot: Rounds at the beginning in which the run is measured; None for none.
        pool: Where long pure work is done while virtual time passes.
        step_s: Seconds of a local step on a device, in the iteration of a path.
    """

    federation: Federation
    run_dir: Path
    rounds: int | None
    seed: int | None
    pilot: int | None
    pool: Executor
    step_s: Callable[[NodeId, str], float]
    _shared: dict[type, Any] = field(default_factory=dict)

    def shared_as(self, kind: type[T]) -> T:
        """The one object of a kind, which all nodes have in common; made when first asked for."""
        found: T = self._shared.setdefault(kind, None) or kind()
        self._shared[kind] = found
        return found


Simulated = Callable[[SimBoot, Setting], Assembled]
"""Puts a node of a role together, in the simulator."""


def load_roles() -> dict[str, Simulated]:
    """What is installed, by the role's name.

    Raises:
        ConfigError: If a role is missing.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    missing = [role for role in ("agent", "gateway", "cloud") if role not in found]
    if missing:
        raise ConfigError(
            f"the simulator finds no {', '.join(missing)}: fedtier is not installed as a whole. "
            "Install it anew with pip."
        )
    return {name: point.load() for name, point in found.items()}
