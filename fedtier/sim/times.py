"""How long a local step takes on each simulated device, stragglers included."""

from __future__ import annotations

from random import Random

from fedtier.config.federation import Federation
from fedtier.ids import NodeId

_SLOWEST = 1000.0  # times the usual: a Pareto distribution has no end of its own


class StepTimes:
    """Seconds of a local step: of the file, times a draw for each iteration where it has a tail."""

    def __init__(self, federation: Federation, *, seed: int) -> None:
        """Read what the file says.

        Args:
            federation: Its ``[simulation]``, and ``step_s`` of single nodes.
            seed: Of the draws.
        """
        table = federation.simulation
        self._seed = seed
        self._tail = table.tail
        self._usual_s = {
            device: table.step_s if own is None else own
            for device in federation.topology.devices()
            for own in [federation.nodes[device].step_s]
        }

    def __call__(self, device: NodeId, address: str) -> float:
        """Of a device in one iteration, or whatever the address stands for."""
        usual_s = self._usual_s[device]
        if self._tail is None:
            return usual_s
        draws = Random(f"{self._seed}/{device}/{address}")
        return usual_s * min(draws.paretovariate(self._tail), _SLOWEST)
