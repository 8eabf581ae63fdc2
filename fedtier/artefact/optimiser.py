"""What an artefact's training graph does with a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fedtier.errors import ConfigError

KIND = "sgd"

_ENDS = {"momentum": 1.0, "weight_decay": 1.0, "prox": 1e3}  # each from 0 to below


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimiser:
    """Stochastic gradient descent and what is added to it; fixed when the graph is compiled.

    With the gradient ``g`` of the loss at parameters ``w``, step size ``mu``, velocity ``v``,
    anchor ``a`` and correction ``c``, vectors of shape ``(p,)``: running statistics, which stand
    behind the parameters in a flat vector, have no part in any of it::

        g' = g + weight_decay w + prox (w - a) + c
        v' = momentum v + g'
        w' = w - mu v'          with nesterov: w' = w - mu (g' + momentum v')

    The anchor is the model that the iteration starts from. What is zero has no part in the graph.

    Raises:
        ConfigError: If a number is outside the range given beside it.

    Notes:
        Momentum and weight decay are torch's ``SGD`` (no dampening); the proximal term is
        FedProx's: Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020.
    """

    momentum: float = 0.0  # in [0, 1)
    nesterov: bool = False  # needs momentum
    weight_decay: float = 0.0  # in [0, 1)
    prox: float = 0.0  # in [0, 1000)
    correction: bool = False  # whether the graph takes a correction

    def __post_init__(self) -> None:
        for name, end in _ENDS.items():
            value = getattr(self, name)
            if not 0.0 <= value < end:
                raise ConfigError(f"{name} = {value!r} is outside [0, {end:g}).")
        if self.nesterov and not self.momentum:
            raise ConfigError("nesterov needs momentum. Give one such as 0.9, or leave it out.")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The vectors that the training graph takes besides ``w``, each of shape ``(p,)``."""
        taken = {"velocity": self.momentum, "anchor": self.prox, "correction": self.correction}
        return tuple(name for name, used in taken.items() if used)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the training graph gives: ``loss``, ``w_next``, and what momentum leaves."""
        return ("loss", "w_next", *(("velocity_next",) if self.momentum else ()))

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Optimiser:
        """Read it from a manifest.

        Raises:
            KeyError, TypeError, ValueError, ConfigError: If it is not what ``to_json`` writes.
        """
        if data["kind"] != KIND:
            raise ValueError(f"optimiser kind {data['kind']!r} is not {KIND!r}")
        return cls(
            momentum=float(data["momentum"]),
            nesterov=bool(data["nesterov"]),
            weight_decay=float(data["weight_decay"]),
            prox=float(data["prox"]),
            correction=bool(data["correction"]),
        )
