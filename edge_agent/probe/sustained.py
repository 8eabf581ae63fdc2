"""Steps one after the other: how warm and how slow the board gets, and what energy it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from edge_agent.board_reading import read_board
from edge_agent.energy import EnergyMeter
from edge_agent.probe.findings import Energy, Missing, Sustained, Temperature
from edge_agent.probe.steps import feed_of, training_graph
from fedtier.artefact.artefact import Artefact
from fedtier.errors import TrainingError

_LOOK_S = 0.5  # between two looks at sensors
_SHARE = 10  # of the steps, that the first and the last of them are compared over


class Warmth:
    """The board's temperature from when this is made."""

    def __init__(self, read: Callable[[], float | None] | None = None) -> None:
        """Take the first reading.

        Args:
            read: The hottest zone in °C, or None; the board's own by default.
        """
        self._read = read or (lambda: read_board().temperature_c)
        self._began_s = time.monotonic()
        self._seen: list[float] = []
        self.look()

    def look(self) -> None:
        """Take a reading, if there is one."""
        found = self._read()
        if found is not None:
            self._seen.append(found)

    def found(self) -> Temperature | Missing:
        """What the readings were."""
        if not self._seen:
            return Missing("not offered: /sys/class/thermal shows no temperature")
        return Temperature(
            before=self._seen[0],
            highest=max(self._seen),
            end=self._seen[-1],
            seconds=time.monotonic() - self._began_s,
        )


def measure_sustained(
    artefact: Artefact, *, warmth: Warmth, meter: EnergyMeter, end_s: float
) -> Sustained | Missing:
    """Do steps until the time is up.

    Args:
        artefact: Whose first lowering, on one thread.
        warmth: Takes readings meanwhile.
        meter: Of energy; looked at for the first time here.
        end_s: On the monotonic clock; no step begins later.
    """
    outputs, feed = artefact.manifest.optimiser.outputs, feed_of(artefact)
    taken_s: list[float] = []
    try:
        with training_graph(artefact, artefact.manifest.lowering, threads=1) as (_, graph):
            graph.run(outputs, feed)
            began_s = look_s = time.monotonic()
            meter.look(began_s)
            while (now_s := time.monotonic()) < end_s:
                if now_s >= look_s + _LOOK_S:
                    warmth.look()
                    meter.look(now_s)
                    look_s = now_s
                step_s = time.perf_counter()
                graph.run(outputs, feed)
                taken_s.append(time.perf_counter() - step_s)
            warmth.look()
            meter.look(time.monotonic())
            seconds = time.monotonic() - began_s
    except TrainingError as error:
        return Missing(str(error))
    if not taken_s:
        return Missing("there was no time")
    first, last = _ends(taken_s)
    return Sustained(
        seconds=seconds,
        steps=len(taken_s),
        first_ms=1e3 * first,
        last_ms=1e3 * last,
        temperature_c=warmth.found(),
        energy=_energy(meter, seconds=seconds, steps=len(taken_s)),
    )


def _ends(taken_s: Sequence[float]) -> tuple[float, float]:
    """Medians of the first tenth and of the last."""
    count = max(1, len(taken_s) // _SHARE)
    return statistics.median(taken_s[:count]), statistics.median(taken_s[-count:])


def _energy(meter: EnergyMeter, *, seconds: float, steps: int) -> Energy | Missing:
    joules = meter.joules
    if joules is None:
        return Missing("not offered: /sys shows this user no energy counter and no power meter")
    return Energy(
        source=meter.source,
        joules=joules,
        watts=joules / seconds,
        joules_per_step=joules / steps,
    )
