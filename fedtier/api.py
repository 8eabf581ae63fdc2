"""What ``import fedtier`` offers to a notebook: load a federation, simulate it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from fedtier.config.federation import Federation, load_federation
from fedtier.sim.faults import Faults
from fedtier.sim.simulate import Simulated, simulate

__all__ = ["Faults", "Federation", "Simulated", "load", "simulate"]


def load(file: str | PathLike[str]) -> Federation:
    """Read and check a federation file.

    Raises:
        ConfigError: If it cannot be read or cannot be; names file, table, key and remedy.
    """
    return load_federation(Path(file))
