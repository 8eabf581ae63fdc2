"""Find a trainer by name: roles and packages offer theirs as entry points."""

from __future__ import annotations

from importlib.metadata import entry_points

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.trainer import Trainer
from fedtier.errors import ConfigError

GROUP = "fedtier.trainer"


def load_trainer(artefact: Artefact, name: str = "onnx", *, lowering: str = "") -> Trainer:
    """Make the trainer of that name for an artefact.

    Args:
        artefact: What to train.
        name: Of the entry point.
        lowering: As a plan names it; nothing is timed here, so ``auto`` is the first.

    Raises:
        ConfigError: If no installed package offers it, or the artefact has no such lowering.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise ConfigError(
            f"trainer {name!r} is not installed. Installed are: "
            + (", ".join(sorted(found)) or "none; install fedtier itself with pip")
        )
    trainer: Trainer = found[name].load()(artefact, lowering=lowering)
    return trainer
