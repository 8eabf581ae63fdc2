"""Steps one after the other: how warm and how slow the board gets, and what energy it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from edge_agent.board_reading import read_board
from edge_agent.energy import EnergyMeter
from edge_agent.probe.findings import UNTIMED, Energy, Missing, Sustained, Temperature
from edge_agent.probe.steps import feed_of, training_graph
from edge_agent.probe.timed_runs import timed_runs
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
        self._began_s = self._last_s = time.monotonic()
        self._seen: list[float] = []
        self.look()

    def look(self) -> None:
        """Take a reading, if there is one."""
        found = self._read()
        if found is not None:
            self._seen.append(found)
            self._last_s = time.monotonic()

    def found(self) -> Temperature | Missing:
        """What the readings were."""
        if not self._seen:
            return Missing("not offered: /sys/class/thermal shows no temperature")
        return Temperature(
            before=self._seen[0],
            highest=max(self._seen),
            end=self._seen[-1],
            seconds=self._last_s - self._began_s,
        )


class SustainedSteps:
    """Steps one after the other; what was seen up to the last look stays when they are broken off.

    A look is at how many there are, at the sensors and at the energy.
    """

    def __init__(self, *, warmth: Warmth, meter: EnergyMeter) -> None:
        """Prepare; nothing is run yet.

        Args:
            warmth: Takes readings meanwhile.
            meter: Of energy; looked at for the first time here.
        """
        self._warmth = warmth
        self._meter = meter
        self._taken_s: list[float] = []
        self._seen = _Seen(steps=0, seconds=0.0, joules=None)
        self._failed = ""

    def measure(self, artefact: Artefact, *, end_s: float) -> None:
        """Do steps until the time is up.

        Args:
            artefact: Whose first lowering, on one thread.
            end_s: On the monotonic clock, see ``timed_runs``.
        """
        lowering = artefact.manifest.lowering
        try:
            with training_graph(artefact, lowering, threads=1) as (_, graph):
                step = partial(graph.run, artefact.manifest.optimiser.outputs, feed_of(artefact))
                step()
                began_s = look_s = time.monotonic()
                self._meter.look(began_s)
                for step_s in timed_runs(step, end_s=end_s):
                    self._taken_s.append(step_s)
                    if time.monotonic() >= look_s + _LOOK_S:
                        look_s = self._look(began_s)
                self._look(began_s)
        except TrainingError as error:
            self._failed = str(error)

    def _look(self, began_s: float) -> float:
        self._warmth.look()
        now_s = time.monotonic()
        self._meter.look(now_s)
        # In one assignment: an interruption leaves figures that belong together.
        self._seen = _Seen(
            steps=len(self._taken_s), seconds=now_s - began_s, joules=self._meter.joules
        )
        return now_s

    def found(self) -> Sustained | Missing:
        """What was seen, or why there is nothing."""
        seen = self._seen
        if self._failed or not seen.steps:
            return Missing(self._failed or UNTIMED)
        first, last = _ends(self._taken_s[: seen.steps])
        return Sustained(
            seconds=seen.seconds,
            steps=seen.steps,
            first_ms=1e3 * first,
            last_ms=1e3 * last,
            temperature_c=self._warmth.found(),
            energy=_energy(seen, source=self._meter.source),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """At a look, since the steps began."""

    steps: int
    seconds: float
    joules: float | None


def _ends(taken_s: Sequence[float]) -> tuple[float, float]:
    """Medians of the first tenth and of the last."""
    count = max(1, len(taken_s) // _SHARE)
    return statistics.median(taken_s[:count]), statistics.median(taken_s[-count:])


def _energy(seen: _Seen, *, source: str) -> Energy | Missing:
    if seen.joules is None:
        return Missing("not offered: /sys shows this user no energy counter and no power meter")
    return Energy(
        source=source,
        joules=seen.joules,
        watts=seen.joules / seen.seconds,
        joules_per_step=seen.joules / seen.steps,
    )
